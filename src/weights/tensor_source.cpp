#include "weights/tensor_source.hpp"

#include <utility>

#include "weights/safetensors.hpp"

namespace modelpool::weights {
namespace {

std::optional<number_type> number_type_of(element type) noexcept
{
    switch (type) {
    case element::f64:
        return number_type::f64;
    case element::f32:
        return number_type::f32;
    case element::f16:
        return number_type::f16;
    case element::bf16:
        return number_type::bf16;
    default:
        return std::nullopt;
    }
}

class checkpoint_source final : public tensor_source {
public:
    explicit checkpoint_source(std::shared_ptr<const checkpoint> files)
        : files_{std::move(files)}
    {}

    std::optional<stored_tensor> find(std::string_view name) const override
    {
        const tensor_view* found = files_->find(name);
        if (found == nullptr) return std::nullopt;
        return stored_tensor{
            number_type_of(found->type), to_string(found->type), found->shape, {found->data}};
    }

    std::string where() const override { return files_->path().string(); }

    void drop_pages() const noexcept override
    {
        for (const auto& file : files_->files())
            file->drop_pages();
    }

    std::size_t weight_bytes() const noexcept override { return files_->weight_bytes(); }

private:
    std::shared_ptr<const checkpoint> files_;
};

}  // namespace

bool is_dense(number_type type) noexcept
{
    return type == number_type::f32 || type == number_type::f16 || type == number_type::bf16 ||
           type == number_type::f64;
}

std::shared_ptr<const tensor_source> make_tensor_source(std::shared_ptr<const checkpoint> files)
{
    return std::make_shared<checkpoint_source>(std::move(files));
}

}  // namespace modelpool::weights
