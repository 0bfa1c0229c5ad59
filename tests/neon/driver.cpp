// Calls functions of compiled kernels on behalf of another process: requests come on standard input, replies go to standard
// output, both little-endian, until the input ends. Every buffer ends where a page without access begins, so that a kernel
// which reads or writes behind one dies instead of passing.
//
// Request: functions {count, {path, symbol}...}, buffers {count, {size, returned, bytes, patches {count, {offset, kind,
// index}...}}...}, the function that is called, arguments {count, {kind, value}...}. Counts, sizes and values are 64-bit;
// texts are a length and bytes; kinds are 0: integer, 1: float (its bits), 2: address of a buffer, 3: address of a function,
// 4: null. Reply: the integer result, then the bytes of every buffer that is to be returned.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

using i64 = std::int64_t;
enum Kind : i64 { INTEGER, FLOAT, BUFFER, FUNCTION, NOTHING };

struct Buffer {
    char *data, *mapped;
    std::size_t size, mapped_size;
    bool returned;
};

[[noreturn]] void fail(const std::string& why) {
    std::fprintf(stderr, "driver: %s\n", why.c_str());
    std::exit(2);
}

void read(void* to, std::size_t size) {
    if (size && std::fread(to, size, 1, stdin) != 1) fail("the request ends early");
}

i64 number() {
    i64 value;
    read(&value, sizeof value);
    return value;
}

std::string text() {
    std::string value(static_cast<std::size_t>(number()), '\0');
    read(value.data(), value.size());
    return value;
}

void* load(const std::string& path, const std::string& symbol) {
    static std::map<std::string, void*> libraries;
    void*& library = libraries[path];
    if (!library) library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(dlerror());
    void* function = dlsym(library, symbol.c_str());
    if (!function) fail(path + " has no " + symbol);
    return function;
}

Buffer guarded(std::size_t size) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), whole = (size + page - 1) / page * page;
    char* mapped = static_cast<char*>(mmap(nullptr, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (mapped == MAP_FAILED || mprotect(mapped + whole, page, PROT_NONE)) fail("no memory");
    return {mapped + whole - size, mapped, size, whole + page, false};
}

// By the procedure call standard, integers and floats count their registers apart, and only the former overflow to the stack
// here; hence one signature serves every function of at most 12 integers and 2 floats.
i64 call(void* function, const i64 (&n)[12], const float (&f)[2]) {
    using Any = i64 (*)(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, float, float);
    return reinterpret_cast<Any>(function)(n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], f[0], f[1]);
}

void serve(i64 function_count) {
    std::vector<void*> functions;
    for (i64 i = 0; i < function_count; ++i) {
        const std::string path = text();
        functions.push_back(load(path, text()));
    }
    std::vector<Buffer> buffers;
    struct Patch {
        i64 buffer, offset, kind, index;
    };
    std::vector<Patch> patches;
    for (i64 i = 0, count = number(); i < count; ++i) {
        Buffer buffer = guarded(static_cast<std::size_t>(number()));
        buffer.returned = number();
        read(buffer.data, buffer.size);
        buffers.push_back(buffer);
        for (i64 left = number(); left > 0; --left) {
            const i64 offset = number(), kind = number();
            patches.push_back({i, offset, kind, number()});
        }
    }
    const auto address = [&](i64 kind, i64 index) {
        const auto at = static_cast<std::size_t>(index);
        return kind == BUFFER ? reinterpret_cast<i64>(buffers.at(at).data) : reinterpret_cast<i64>(functions.at(at));
    };
    for (const Patch& p : patches) {
        const i64 value = address(p.kind, p.index);
        std::memcpy(buffers[static_cast<std::size_t>(p.buffer)].data + p.offset, &value, sizeof value);
    }
    void* function = functions.at(static_cast<std::size_t>(number()));
    i64 integers[12] = {}, integer_count = 0, float_count = 0;
    float floats[2] = {};
    for (i64 left = number(); left > 0; --left) {
        const i64 kind = number(), value = number();
        if (integer_count == 12 || float_count == 2) fail("too many arguments");
        if (kind == FLOAT)
            std::memcpy(&floats[float_count++], &value, sizeof(float));
        else
            integers[integer_count++] = kind == NOTHING ? 0 : kind == INTEGER ? value : address(kind, value);
    }
    const i64 result = call(function, integers, floats);
    std::fwrite(&result, sizeof result, 1, stdout);
    for (const Buffer& buffer : buffers) {
        if (buffer.returned) std::fwrite(buffer.data, 1, buffer.size, stdout);
        munmap(buffer.mapped, buffer.mapped_size);
    }
    std::fflush(stdout);
}

}  // namespace

int main() {
    i64 function_count;
    while (std::fread(&function_count, sizeof function_count, 1, stdin) == 1) serve(function_count);
    return 0;
}
