// Calls a stage of the library `times` over with the same arguments, so that its data stay in L1 and a call from Python is no
// part of the time. No instruction to bound: an indirect call a repetition.
#include "lookup.hpp"

extern "C" {
using LayerNorm = void (*)(const float*, i64, i64, i64, const float*, const float*, float, float*, i64, float*);
using CodeScore = void (*)(const float*, i64, i64, i64, i64, i64, Code*, float*, i64);
using Gather = i64 (*)(const Tables*, const Code*, const float*, i64, i64, float*, i64, i64, i64, const GatherSchedule*);
}

struct StageTask {
    i64 times, tokens;
    void* function;
    i64 a[10];  // the stage's arguments in order; a float's place is empty
    float f;
};

template <class T>
static T* pointer(i64 address) {
    return reinterpret_cast<T*>(address);
}

LOOKUPSIM_EXPORT i64 incore_layer_norm(StageTask* t) {
    const auto run = reinterpret_cast<LayerNorm>(t->function);
    const i64* a = t->a;
    for (i64 i = 0; i < t->times; ++i)
        run(pointer<const float>(a[0]), a[1], a[2], a[3], pointer<const float>(a[4]), pointer<const float>(a[5]), t->f,
            pointer<float>(a[7]), a[8], pointer<float>(a[9]));
    return t->times * t->tokens;
}

LOOKUPSIM_EXPORT i64 incore_code_score(StageTask* t) {
    const auto run = reinterpret_cast<CodeScore>(t->function);
    const i64* a = t->a;
    for (i64 i = 0; i < t->times; ++i)
        run(pointer<const float>(a[0]), a[1], a[2], a[3], a[4], a[5], pointer<Code>(a[6]), pointer<float>(a[7]), a[8]);
    return t->times * t->tokens;
}

LOOKUPSIM_EXPORT i64 incore_gather(StageTask* t) {
    const auto run = reinterpret_cast<Gather>(t->function);
    const i64* a = t->a;
    for (i64 i = 0; i < t->times; ++i)
        if (run(pointer<const Tables>(a[0]), pointer<const Code>(a[1]), pointer<const float>(a[2]), a[3], a[4],
                pointer<float>(a[5]), a[6], a[7], a[8], pointer<const GatherSchedule>(a[9])) >= 0)
            return 0;
    return t->times * t->tokens;
}
