#pragma once

// What a look-up costs, and what models cost that nobody has loaded yet.

#include <modelpool/async/awaitable.hpp>
#include <modelpool/registry/registry.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "echo_model.hpp"
#include "support.hpp"

namespace modelpool::bench {

inline std::string model_key(std::size_t index)
{
    return "some-organization/some-model-name-" + std::to_string(10'000 + index);
}

/// A card as full as one of the catalogue.
inline card echo_card(std::size_t index, const std::shared_ptr<const echo_plan>& plan)
{
    card made;
    made.key = model_key(index);
    made.aliases.push_back("model-" + std::to_string(index));
    made.load = any_loader::of<text_embedding>(echo_loader(plan));
    made.repo = made.key;
    made.files.include("config.json").include("tokenizer.json").include("model.safetensors");
    made.memory.resident_bytes = 1;
    made.prompts = {{"query", "query: "}, {"document", "passage: "}};
    made.licence = "apache-2.0";
    return made;
}

/// A registry of many models, none of them loaded.
class registry_stand {
public:
    explicit registry_stand(std::size_t n_models)
        : plan_{std::make_shared<const echo_plan>()}
        , n_models_{n_models}
        , models_{stand_.resources()}
    {
        models_.use(stand_.models());
    }

    void blocking_add_cards()
    {
        std::vector<card> cards;
        cards.reserve(n_models_);
        for (std::size_t i = 0; i < n_models_; ++i)
            cards.push_back(echo_card(i, plan_));
        stand_.blocking_run(models_.add(std::move(cards)));
    }

    /// Gives out a handle of each.
    void blocking_find_all() { blocking_time_look_ups(1, n_models_); }

    /// So many threads, each with a loop of its own, look up all models in turn. What one look-up
    /// takes.
    nanoseconds blocking_time_look_ups(std::size_t n_threads, std::size_t n)
    {
        std::vector<std::string> keys;
        for (std::size_t i = 0; i < n_models_; ++i)
            keys.push_back(model_key(i));
        const auto look_up = [&] {
            boost::asio::io_context loop{1};
            blocking_run(loop, look_up_often(models_, keys, n));
        };
        return blocking_on_threads(n_threads, look_up) / static_cast<nanoseconds::rep>(n);
    }

    void blocking_close() { stand_.blocking_close(); }

private:
    static awaitable<void>
    look_up_often(registry& models, std::vector<std::string> keys, std::size_t n)
    {
        for (std::size_t i = 0; i < n; ++i) {
            auto finding = models.find<text_embedding>(keys[i % keys.size()]);
            const handle<text_embedding> found = co_await std::move(finding);
            static_cast<void>(found);
        }
    }

    stand stand_;
    std::shared_ptr<const echo_plan> plan_;
    std::size_t n_models_;
    registry models_;
};

/// Bytes of so many models that a pool knows and has not loaded.
inline std::size_t blocking_pool_bytes(std::size_t n_models)
{
    stand here;
    const auto plan = std::make_shared<const echo_plan>();
    const std::size_t before = heap_bytes();
    for (std::size_t i = 0; i < n_models; ++i)
        here.models().add(model_key(i), echo_loader(plan));
    const std::size_t after = heap_bytes();
    here.blocking_close();
    return after - before;
}

/// Bytes of so many models that a registry knows.
struct registry_bytes {
    std::size_t cards{0};    ///< of nothing but their cards
    std::size_t handles{0};  ///< more, once a handle of each was given out
};

inline registry_bytes blocking_registry_bytes(std::size_t n_models)
{
    registry_stand here{n_models};
    registry_bytes found;
    const std::size_t before = heap_bytes();
    here.blocking_add_cards();
    const std::size_t with_cards = heap_bytes();
    here.blocking_find_all();
    const std::size_t with_handles = heap_bytes();
    here.blocking_close();
    found.cards = with_cards - before;
    found.handles = with_handles - with_cards;
    return found;
}

}  // namespace modelpool::bench
