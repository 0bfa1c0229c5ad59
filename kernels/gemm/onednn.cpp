// GEMM FFN through oneDNN 3: y = W2 gelu(W1 LayerNorm(x) + b1) + b2 in fp32, bf16 or int8, the opponent of the look-up kernels.
//
// Weights are packed once into oneDNN's own layout, bias and GELU are fused into the first product, primitives are made once
// for the tile of tokens and once for what is left over. bf16 rounds inputs and hidden activations; int8 scales the inputs of a
// tile by their largest magnitude at each call, hidden activations by a scale given beforehand, weights by output. These
// conversions are part of a call. Leans on what oneDNN generates: vfmadd231ps, vdpbf16ps, vpdpbusd, tiles. Bound: its own.
#include <oneapi/dnnl/dnnl.hpp>

#include <memory>
#include <unordered_map>

#include "gemm.hpp"

using namespace dnnl;

namespace {

using Arguments = std::unordered_map<int, memory>;

struct Product {
    matmul primitive;
    memory source, destination;
    Arguments arguments;
};

struct Tile {
    Product up, down;
};

struct Ffn {
    GemmLayer layer;
    engine cpu{engine::kind::cpu, 0};
    stream queue{cpu};
    Aligned<float> normalised;
    memory source_scale, intermediate_scale;
    std::unordered_map<i64, Tile> tiles;  // by tokens
    explicit Ffn(const GemmLayer& l) : layer(l), normalised(static_cast<std::size_t>(l.token_tile * l.hidden)) {}
    Kind kind() const { return static_cast<Kind>(layer.kind); }
};

memory::data_type type_of(Kind kind) {
    return kind == FP32 ? memory::data_type::f32 : kind == BF16 ? memory::data_type::bf16 : memory::data_type::s8;
}

memory vector_of(Ffn& f, const std::vector<float>& values) {
    memory m({{static_cast<i64>(values.size())}, memory::data_type::f32, memory::format_tag::a}, f.cpu);
    std::memcpy(m.get_data_handle(), values.data(), values.size() * sizeof(float));
    return m;
}

// Weights [outputs][inputs] -> int8 by output; scales: what a step of each output stands for.
std::vector<std::int8_t> quantise(const float* w, i64 inputs, i64 outputs, std::vector<float>& scales) {
    scales.resize(static_cast<std::size_t>(outputs));
    std::vector<std::int8_t> whole(static_cast<std::size_t>(inputs * outputs));
    for (i64 o = 0; o < outputs; ++o) {
        const float top = largest(w + o * inputs, inputs), scale = top > 0.0f ? top / 127.0f : 1.0f;
        scales[static_cast<std::size_t>(o)] = scale;
        to_int8(w + o * inputs, inputs, 1.0f / scale, whole.data() + o * inputs);
    }
    return whole;
}

// Into the layout that oneDNN chose; int8 fills `scales`.
memory pack(Ffn& f, const float* w, i64 inputs, i64 outputs, const memory::desc& wanted, std::vector<float>& scales) {
    memory packed(wanted, f.cpu);
    std::vector<std::int8_t> whole;
    void* data = const_cast<float*>(w);
    if (f.kind() == INT8) {
        whole = quantise(w, inputs, outputs, scales);
        data = whole.data();
    }
    const auto type = f.kind() == INT8 ? memory::data_type::s8 : memory::data_type::f32;
    memory from({{inputs, outputs}, type, memory::format_tag::ba}, f.cpu, data);
    reorder(from, packed).execute(f.queue, from, packed);
    f.queue.wait();
    return packed;
}

Product product(Ffn& f, i64 tokens, const float* w, const float* b, i64 inputs, i64 outputs, bool gelu, memory::data_type to) {
    const auto from = type_of(f.kind());
    const memory::desc source({tokens, inputs}, from, memory::format_tag::ab);
    const memory::desc any({inputs, outputs}, from, memory::format_tag::any);
    const memory::desc bias({1, outputs}, memory::data_type::f32, memory::format_tag::ab);
    const memory::desc destination({tokens, outputs}, to, memory::format_tag::ab);
    primitive_attr attributes;
    post_ops after;
    if (gelu) after.append_eltwise(algorithm::eltwise_gelu_erf, 0.0f, 0.0f);
    attributes.set_post_ops(after);
    if (f.kind() == INT8) {
        attributes.set_scales_mask(DNNL_ARG_SRC, 0);
        attributes.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
        if (to == memory::data_type::s8) attributes.set_scales_mask(DNNL_ARG_DST, 0);
    }
    const matmul::primitive_desc chosen(f.cpu, source, any, bias, destination, attributes);
    Product p;
    std::vector<float> scales;
    p.primitive = matmul(chosen);
    p.arguments[DNNL_ARG_WEIGHTS] = pack(f, w, inputs, outputs, chosen.weights_desc(), scales);
    if (f.kind() == INT8) p.arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS] = vector_of(f, scales);
    memory whole_bias(bias, f.cpu);
    std::memcpy(whole_bias.get_data_handle(), b, static_cast<std::size_t>(outputs) * sizeof(float));
    p.arguments[DNNL_ARG_BIAS] = whole_bias;
    return p;
}

Tile tile_of(Ffn& f, i64 tokens) {
    const GemmLayer& l = f.layer;
    const auto type = type_of(f.kind());
    Tile t{product(f, tokens, l.w1, l.b1, l.hidden, l.intermediate, true, type),
           product(f, tokens, l.w2, l.b2, l.intermediate, l.hidden, false, memory::data_type::f32)};
    const memory::desc narrow({tokens, l.hidden}, type, memory::format_tag::ab);
    const memory::desc plain({tokens, l.hidden}, memory::data_type::f32, memory::format_tag::ab);
    t.up.source = f.kind() == FP32 ? memory(plain, f.cpu, f.normalised.data) : memory(narrow, f.cpu);
    t.up.destination = memory({{tokens, l.intermediate}, type, memory::format_tag::ab}, f.cpu);
    t.down.destination = memory(plain, f.cpu, DNNL_MEMORY_NONE);
    t.up.arguments[DNNL_ARG_SRC] = t.up.source;
    t.up.arguments[DNNL_ARG_DST] = t.down.arguments[DNNL_ARG_SRC] = t.up.destination;
    t.down.arguments[DNNL_ARG_DST] = t.down.destination;
    if (f.kind() == INT8) {
        t.up.arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC] = f.source_scale;
        t.up.arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_DST] = f.intermediate_scale;
        t.down.arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC] = f.intermediate_scale;
    }
    return t;
}

// LayerNorm, and its result in the type of the products.
void feed(Ffn& f, Tile& tile, const float* x, i64 tokens) {
    const GemmLayer& l = f.layer;
    float* to = f.normalised.data;
    void* narrow = tile.up.source.get_data_handle();
    const auto nothing = [](i64) {};
    if (f.kind() == FP32) return normalise_tile(l, x, tokens, to, nothing);
    if (f.kind() == BF16) {
        auto* halves = static_cast<std::uint16_t*>(narrow);
        return normalise_tile(l, x, tokens, to, [&](i64 t) { to_bf16(to + t * l.hidden, l.hidden, halves + t * l.hidden); });
    }
    std::vector<float> top(static_cast<std::size_t>(tokens));
    normalise_tile(l, x, tokens, to, [&](i64 t) { top[static_cast<std::size_t>(t)] = largest(to + t * l.hidden, l.hidden); });
    const float most = *std::max_element(top.begin(), top.end()), scale = most > 0.0f ? most / 127.0f : 1.0f;
    *static_cast<float*>(f.source_scale.get_data_handle()) = scale;
    auto* bytes = static_cast<std::int8_t*>(narrow);
#pragma omp parallel for schedule(static) if (tokens > 1 && l.threads > 1)
    for (i64 t = 0; t < tokens; ++t) to_int8(to + t * l.hidden, l.hidden, 1.0f / scale, bytes + t * l.hidden);
}

std::unique_ptr<Ffn> make(const GemmLayer& layer) {
    auto f = std::make_unique<Ffn>(layer);
    pin_threads(layer);
    f->source_scale = vector_of(*f, {1.0f});
    f->intermediate_scale = vector_of(*f, {layer.intermediate_scale});
    for (const i64 tokens : {std::min(layer.token_tile, layer.tokens), layer.tokens % layer.token_tile})
        if (tokens && !f->tiles.count(tokens)) f->tiles.emplace(tokens, tile_of(*f, tokens));
    return f;
}

}  // namespace

// A layer for one batch size, or null with the reason in `message`. The arrays of `layer` need not outlive the call, but for
// gamma and beta.
LOOKUPSIM_EXPORT void* gemm_make(const GemmLayer* layer, char* message, i64 message_size) {
    try {
        return make(*layer).release();
    } catch (const std::exception& error) {
        std::strncpy(message, error.what(), static_cast<std::size_t>(message_size - 1));
        return nullptr;
    }
}

LOOKUPSIM_EXPORT void gemm_free(void* layer) { delete static_cast<Ffn*>(layer); }

// y = FFN(x), both [tokens][hidden]; 0, or 1 if oneDNN refused.
LOOKUPSIM_EXPORT i64 gemm_run(void* layer, const float* x, float* y) {
    Ffn& f = *static_cast<Ffn*>(layer);
    const GemmLayer& l = f.layer;
    omp_set_num_threads(static_cast<int>(l.threads));
    try {
        for (i64 begin = 0; begin < l.tokens; begin += l.token_tile) {
            const i64 tokens = std::min(l.token_tile, l.tokens - begin);
            Tile& tile = f.tiles.at(tokens);
            feed(f, tile, x + begin * l.hidden, tokens);
            tile.down.destination.set_data_handle(y + begin * l.hidden);
            tile.up.primitive.execute(f.queue, tile.up.arguments);
            tile.down.primitive.execute(f.queue, tile.down.arguments);
        }
        f.queue.wait();
    } catch (const std::exception&) {
        return 1;
    }
    return 0;
}

LOOKUPSIM_EXPORT void gemm_version(i64* numbers) {
    const version_t* v = dnnl_version();
    numbers[0] = v->major, numbers[1] = v->minor, numbers[2] = v->patch;
}
