#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/capability/text_to_text.hpp>
#include <modelpool/capability/vision.hpp>
#include <modelpool/device.hpp>
#include <modelpool/hub/snapshot.hpp>
#include <modelpool/pool/load_context.hpp>
#include <modelpool/pool/options.hpp>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace modelpool {

/// What a model can do.
enum class capability { text_embedding = 1, image_embedding, text_to_text, vision, text_to_image };

/// The loader of a card, which knows what capability it loads.
class any_loader {
public:
    any_loader() = default;
    template <class C>
    static any_loader of(loader<C> load);

    capability kind() const noexcept { return static_cast<capability>(load_.index() + 1); }
    /// The loader; empty where this one is of another capability.
    template <class C>
    loader<C> get() const;

private:
    // Vision and text_to_text share a model interface, so places are told apart by index, not by
    // type.
    std::variant<
        loader<text_embedding>,
        loader<image_embedding>,
        loader<text_to_text>,
        loader<vision>,
        loader<text_to_image>>
        load_;
};

/// A model described before it is loaded. Plain data, but for the loader.
struct card {
    std::string key;                   ///< usually "org/name"
    std::vector<std::string> aliases;  ///< other names of it
    any_loader load;
    repository repo;  ///< where its files come from
    file_selection files;
    memory_estimate memory;
    std::size_t context_length{0};  ///< tokens
    std::size_t dimension{0};       ///< numbers a row, of an embedding model
    std::optional<bool> cuttable;   ///< rows may be cut to shorter ones (Matryoshka training)
    std::map<std::string, std::string> prompts;  ///< of an embedding model, by name
    std::optional<std::string> default_prompt;
    sampling_params sampling;  ///< defaults of a generator
    std::string licence;
    bool gated{false};         ///< its repository wants an accepted licence and a token
    bool warm_up{false};       ///< run one small forward before a worker says that it is ready
    modelpool::device device;  ///< where its workers compute
    dtype precision{dtype::automatic};  ///< what they compute in
    int n_threads{0};                   ///< as worker_options::n_threads
    bool pinned{false};                 ///< as worker_options::pinned
    std::optional<scaling_options> scaling;

    capability kind() const noexcept { return load.kind(); }
};

constexpr std::string_view to_string(capability value) noexcept
{
    switch (value) {
    case capability::text_embedding:
        return text_embedding::name;
    case capability::image_embedding:
        return image_embedding::name;
    case capability::text_to_text:
        return text_to_text::name;
    case capability::vision:
        return vision::name;
    case capability::text_to_image:
        return text_to_image::name;
    }
    return "unknown";
}

/// The value of `capability` that stands for the type `C`.
template <class C>
constexpr capability capability_of() noexcept
{
    if constexpr (std::is_same_v<C, text_embedding>)
        return capability::text_embedding;
    else if constexpr (std::is_same_v<C, image_embedding>)
        return capability::image_embedding;
    else if constexpr (std::is_same_v<C, text_to_text>)
        return capability::text_to_text;
    else if constexpr (std::is_same_v<C, vision>)
        return capability::vision;
    else
        return capability::text_to_image;
}

template <class C>
any_loader any_loader::of(loader<C> load)
{
    any_loader made;
    made.load_.template emplace<static_cast<std::size_t>(capability_of<C>()) - 1>(std::move(load));
    return made;
}

template <class C>
loader<C> any_loader::get() const
{
    const auto* held = std::get_if<static_cast<std::size_t>(capability_of<C>()) - 1>(&load_);
    return held == nullptr ? loader<C>{} : *held;
}

}  // namespace modelpool
