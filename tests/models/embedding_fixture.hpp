#pragma once

#include <modelpool/capability/text_embedding.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "support/safetensors_builder.hpp"
#include "support/temp_dir.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::testing {

/// A checkpoint of a family's folder under tests/data.
inline std::filesystem::path checkpoint_dir(std::string_view family, std::string_view name)
{
    return std::filesystem::path{MODELPOOL_TEST_DATA} / family / name;
}

inline nlohmann::json read_json(const std::filesystem::path& path)
{
    std::ifstream in{path};
    return nlohmann::json::parse(in);
}

/// What the reference computes on a checkpoint: see tests/data/make_<family>_cases.py.
struct embedding_case {
    std::vector<std::string> texts;
    std::string prompt;
    std::size_t max_tokens{0};
    std::vector<std::vector<std::int32_t>> ids;
    std::vector<std::vector<float>> rows;
    std::map<std::string, std::vector<std::vector<float>>> rows_by_dim;

    explicit embedding_case(const std::filesystem::path& dir)
    {
        const nlohmann::json json = read_json(dir / "case.json");
        json.at("texts").get_to(texts);
        json.at("prompt").get_to(prompt);
        json.at("max_tokens").get_to(max_tokens);
        json.at("ids").get_to(ids);
        json.at("rows").get_to(rows);
        if (json.contains("rows_by_dim")) json.at("rows_by_dim").get_to(rows_by_dim);
    }

    embed_input input(std::size_t index, const embedder& model) const
    {
        embed_input result;
        result.text = texts.at(index);
        result.prompt = prompt;
        result.dimension = model.info().dim;
        result.max_tokens = model.info().max_tokens;
        return result;
    }

    std::vector<prepared_text> prepare(const embedder& model) const
    {
        std::vector<prepared_text> batch;
        for (std::size_t i = 0; i < texts.size(); ++i)
            batch.push_back(model.prepare(input(i, model)));
        return batch;
    }
};

/// A tensor of a checkpoint as a test may change it.
struct stored_tensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
};

/// A copy of one of the checkpoints that a test may spoil.
class spoiled_copy {
public:
    explicit spoiled_copy(const std::filesystem::path& dir)
    {
        std::filesystem::copy(dir, dir_.path(), std::filesystem::copy_options::recursive);
    }

    const std::filesystem::path& path() const noexcept { return dir_.path(); }

    spoiled_copy& write(std::string_view file, std::string_view bytes)
    {
        dir_.write(file, bytes);
        return *this;
    }

    spoiled_copy& remove(std::string_view file)
    {
        std::filesystem::remove_all(dir_ / file);
        return *this;
    }

    spoiled_copy& edit(std::string_view file, const std::function<void(nlohmann::json&)>& change)
    {
        nlohmann::json json = read_json(dir_ / file);
        change(json);
        return write(file, json.dump());
    }

    spoiled_copy& set(std::string_view file, std::string_view key, const nlohmann::json& value)
    {
        return edit(file, [&](nlohmann::json& json) { json[std::string{key}] = value; });
    }

    /// Rewrites a file of weights; `alignment` is that of its data.
    spoiled_copy& edit_weights(
        const std::function<void(std::map<std::string, stored_tensor>&)>& change,
        std::size_t alignment = 8,
        std::string_view name = "model.safetensors")
    {
        std::map<std::string, stored_tensor> tensors;
        {
            const auto file = weights::safetensors_file::blocking_open(dir_ / name);
            for (const auto& [tensor, view] : file->tensors()) {
                std::string bytes(view.data.size(), '\0');
                for (std::size_t i = 0; i < bytes.size(); ++i)
                    bytes[i] = static_cast<char>(std::to_integer<unsigned char>(view.data[i]));
                tensors[tensor] = {
                    std::string{weights::to_string(view.type)}, view.shape, std::move(bytes)};
            }
        }
        change(tensors);
        safetensors_builder builder;
        for (const auto& [key, tensor] : tensors)
            builder.add(key, tensor.dtype, tensor.shape, tensor.bytes);
        std::string header = builder.header();
        while (alignment == 1 && header.size() % 2 == 0)
            header += ' ';
        std::string data;
        for (const auto& [key, tensor] : tensors)
            data += tensor.bytes;
        return write(name, safetensors_builder::file(header, data));
    }

private:
    temp_dir dir_;
};

}  // namespace modelpool::testing
