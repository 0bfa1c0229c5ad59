// Stages of the BH4 kernels by themselves, on data that stay in L1: what kernels/incore_measure.py holds the model to.
//
// A kernel file is included whole, so that what is timed is what runs, and its parts are called `times` over.
#pragma once
#include "lookup.hpp"

struct BlockTask {
    i64 times;
    const char* weights;  // [steps][outputs] dwords
    const char* x;        // [tokens][steps] dwords
    float* y;             // [tokens][outputs]
    i64 outputs, steps, tokens;
};

struct TailTask {  // one stage's tail: activations of a token, butterfly over the blocks, mix
    i64 times;
    const float *x, *mix, *bias;
    const float* correction;
    float* y;        // [tokens][size]
    float* z;        // [size]
    void* activations;
    i64 size, block, tokens, limit;
};
