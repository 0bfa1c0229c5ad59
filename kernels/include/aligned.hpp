// Scratch memory on 64-byte boundaries: freed at the end of its scope (Aligned), or kept by the thread (Workspace).
#pragma once
#include <cstdlib>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(start, size) static_cast<void>(0)
#endif

template <class T>
struct Aligned {
    T* data;
    explicit Aligned(std::size_t count) {
        const std::size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
        data = static_cast<T*>(std::aligned_alloc(64, bytes ? bytes : 64));
        if (!data) throw std::bad_alloc();
    }
    ~Aligned() { std::free(data); }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    T& operator[](std::size_t i) { return data[i]; }
};

// Memory that a thread keeps between calls, handed out in pieces: large allocations would fault every page in anew.
class Workspace {
public:
    void start(std::size_t bytes) {
        if (bytes > size_) {
            ASAN_UNPOISON_MEMORY_REGION(memory_, size_);
            std::free(memory_);
            memory_ = static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
            size_ = memory_ ? bytes : 0;
            if (!memory_) throw std::bad_alloc();
        }
        used_ = 0;
        ASAN_UNPOISON_MEMORY_REGION(memory_, size_);
    }
    template <class T>
    T* take(std::size_t count) {
        char* piece = memory_ + used_;
        used_ += space<T>(count);
        ASAN_POISON_MEMORY_REGION(piece + count * sizeof(T), space<T>(count) - count * sizeof(T));
        return reinterpret_cast<T*>(piece);
    }
    template <class T>
    static std::size_t space(std::size_t count) {
        return (count * sizeof(T) + 127) / 64 * 64;  // at least 64 bytes apart, which the address sanitizer watches
    }
    ~Workspace() {
        ASAN_UNPOISON_MEMORY_REGION(memory_, size_);
        std::free(memory_);
    }

private:
    char* memory_ = nullptr;
    std::size_t size_ = 0, used_ = 0;
};
