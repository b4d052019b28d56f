#include "models/llama_embedder.hpp"

#include <utility>

#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

class llama_embedder final : public packed_embedder {
public:
    explicit llama_embedder(std::shared_ptr<const llama_embedder_parts> parts)
        : packed_embedder{parts}
        , shared_{std::move(parts)}
        , scratch_{shared_->encoder}
    {}

    std::unique_ptr<embedder> replicate() const override
    {
        return std::make_unique<llama_embedder>(shared_);
    }

private:
    at::Tensor
    encode(const at::Tensor& ids, const nn::packed_block& block, run_context& context) override
    {
        return shared_->encoder.run(ids, block, scratch_, context);
    }

    std::shared_ptr<const llama_embedder_parts> shared_;
    nn::llama_encoder::scratch scratch_;
};

}  // namespace

encoder_size size_of(const nn::llama_encoder_config& config) noexcept
{
    return {config.vocab_size, config.hidden_size, config.max_position_embeddings};
}

void blocking_read_encoder(
    llama_embedder_parts& parts,
    const nn::llama_encoder_config& config,
    const std::string& scope,
    const stop_flag& stop)
{
    const nn::weight_reader files{
        weights::checkpoint::blocking_open(parts.modules.transformer_dir), stop};
    const bool nested = files.in(scope).has("embed_tokens.weight");
    parts.encoder = nn::llama_encoder::read(files.in(nested ? scope : ""), config, parts.dtype);
    parts.add_weights(files.footprint());
    files.drop_pages();
    parts.replica_bytes =
        config.scratch_bytes(parts.max_block_rows(), c10::elementSize(parts.dtype));
}

std::unique_ptr<embedder> make_llama_embedder(std::shared_ptr<const llama_embedder_parts> parts)
{
    return std::make_unique<llama_embedder>(std::move(parts));
}

}  // namespace modelpool::models
