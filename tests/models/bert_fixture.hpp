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

inline std::filesystem::path bert_dir(std::string_view name)
{
    return std::filesystem::path{MODELPOOL_TEST_DATA} / "bert" / name;
}

inline nlohmann::json read_json(const std::filesystem::path& path)
{
    std::ifstream in{path};
    return nlohmann::json::parse(in);
}

/// What sentence-transformers computes on a checkpoint: see tests/data/make_bert_cases.py.
struct bert_case {
    std::vector<std::string> texts;
    std::string prompt;
    std::size_t max_tokens{0};
    std::vector<std::vector<std::int32_t>> ids;
    std::vector<std::vector<float>> rows;

    explicit bert_case(std::string_view name)
    {
        const nlohmann::json json = read_json(bert_dir(name) / "case.json");
        json.at("texts").get_to(texts);
        json.at("prompt").get_to(prompt);
        json.at("max_tokens").get_to(max_tokens);
        json.at("ids").get_to(ids);
        json.at("rows").get_to(rows);
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
class spoiled_checkpoint {
public:
    explicit spoiled_checkpoint(std::string_view name)
    {
        std::filesystem::copy(
            bert_dir(name), dir_.path(), std::filesystem::copy_options::recursive);
    }

    const std::filesystem::path& path() const noexcept { return dir_.path(); }

    spoiled_checkpoint& write(std::string_view file, std::string_view bytes)
    {
        dir_.write(file, bytes);
        return *this;
    }

    spoiled_checkpoint& remove(std::string_view file)
    {
        std::filesystem::remove_all(dir_ / file);
        return *this;
    }

    spoiled_checkpoint&
    edit(std::string_view file, const std::function<void(nlohmann::json&)>& change)
    {
        nlohmann::json json = read_json(dir_ / file);
        change(json);
        return write(file, json.dump());
    }

    spoiled_checkpoint&
    set(std::string_view file, std::string_view key, const nlohmann::json& value)
    {
        return edit(file, [&](nlohmann::json& json) { json[std::string{key}] = value; });
    }

    /// Rewrites model.safetensors; `alignment` is that of its data.
    spoiled_checkpoint& edit_weights(
        const std::function<void(std::map<std::string, stored_tensor>&)>& change,
        std::size_t alignment = 8)
    {
        std::map<std::string, stored_tensor> tensors;
        {
            const auto file = weights::safetensors_file::blocking_open(dir_ / "model.safetensors");
            for (const auto& [name, view] : file->tensors()) {
                std::string bytes(view.data.size(), '\0');
                for (std::size_t i = 0; i < bytes.size(); ++i)
                    bytes[i] = static_cast<char>(std::to_integer<unsigned char>(view.data[i]));
                tensors[name] = {
                    std::string{weights::to_string(view.type)}, view.shape, std::move(bytes)};
            }
        }
        change(tensors);
        safetensors_builder builder;
        for (const auto& [name, tensor] : tensors)
            builder.add(name, tensor.dtype, tensor.shape, tensor.bytes);
        std::string header = builder.header();
        while (alignment == 1 && header.size() % 2 == 0)
            header += ' ';
        std::string data;
        for (const auto& [name, tensor] : tensors)
            data += tensor.bytes;
        return write("model.safetensors", safetensors_builder::file(header, data));
    }

private:
    temp_dir dir_;
};

}  // namespace modelpool::testing
