// A 64-byte aligned scratch array that is freed at the end of its scope.
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
