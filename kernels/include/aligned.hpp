// Scratch memory on 64-byte boundaries: freed at the end of its scope (Aligned), or kept by the thread (Workspace).
#pragma once
#include <cstdlib>
#include <new>

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
            std::free(memory_);
            memory_ = static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
            size_ = memory_ ? bytes : 0;
            if (!memory_) throw std::bad_alloc();
        }
        used_ = 0;
    }
    template <class T>
    T* take(std::size_t count) {
        char* piece = memory_ + used_;
        used_ += space<T>(count);
        return reinterpret_cast<T*>(piece);
    }
    template <class T>
    static std::size_t space(std::size_t count) {
        return (count * sizeof(T) + 63) / 64 * 64;
    }
    ~Workspace() { std::free(memory_); }

private:
    char* memory_ = nullptr;
    std::size_t size_ = 0, used_ = 0;
};
