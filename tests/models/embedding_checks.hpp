#pragma once

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/checkpoint_facts.hpp"
#include "models/embedder_loaders.hpp"
#include "models/embedding_fixture.hpp"

namespace modelpool::testing {

using embedding_rows = std::vector<item_result<std::vector<float>>>;

inline float largest_difference(std::span<const float> a, std::span<const float> b)
{
    if (a.size() != b.size()) return std::numeric_limits<float>::infinity();
    float largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        // Written so that a NaN is a difference.
        if (!(std::abs(a[i] - b[i]) <= largest)) largest = std::abs(a[i] - b[i]);
    return largest;
}

inline embedding_rows run(embedder& model, std::span<const prepared_text> batch)
{
    run_context context;
    return model.run(batch, context);
}

/// Token ids, limits and rows are those of the case, all texts at once.
inline void check_case(embedder& model, const embedding_case& expected, float tolerance)
{
    CHECK(model.info().max_tokens == expected.max_tokens);
    CHECK(model.info().dim == expected.rows[0].size());
    const std::vector<prepared_text> batch = expected.prepare(model);
    const embedding_rows found = run(model, batch);
    REQUIRE(found.size() == batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
        CAPTURE(expected.texts[i].substr(0, 60));
        CHECK(batch[i].tokens == expected.ids[i]);
        REQUIRE(found[i].ok());
        CHECK(largest_difference(found[i].value(), expected.rows[i]) < tolerance);
    }
}

/// A text's row is the same alone and among so many others that they fill several blocks.
inline void check_neighbours(embedder& model, const embedding_case& expected, float tolerance)
{
    const std::vector<prepared_text> texts = expected.prepare(model);
    std::vector<prepared_text> batch;
    for (std::size_t i = 0; i < 200; ++i)
        batch.push_back(texts[(i * 5) % texts.size()]);
    const embedding_rows together = run(model, batch);
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const embedding_rows alone = run(model, {&texts[i], 1});
        REQUIRE(alone[0].ok());
        for (std::size_t k = 0; k < batch.size(); ++k)
            if (k * 5 % texts.size() == i) {
                REQUIRE(together[k].ok());
                CHECK(largest_difference(alone[0].value(), together[k].value()) < tolerance);
            }
    }
}

/// A replica shares the weights, gives the same rows, and outlives the model it came from.
inline void
check_replica(std::unique_ptr<embedder> model, const embedding_case& expected, float tolerance)
{
    const auto replica = model->replicate();
    REQUIRE(replica);
    CHECK(&replica->info() == &model->info());
    CHECK(replica->bytes().shared_bytes == model->bytes().shared_bytes);
    model.reset();
    check_case(*replica, expected, tolerance);
}

class counting_monitor final : public run_monitor {
public:
    int n_threads() const noexcept override { return 2; }
    void step_done() noexcept override
    {
        if (++n_steps == stop_after) source.request_stop();
    }

    int n_steps{0};
    int stop_after{-1};
    stop_source source;
};

/// Every layer is a step, on two threads; a stop ends the batch at the next one.
inline void
check_steps(embedder& model, const embedding_case& expected, int n_layers, float tolerance)
{
    const std::vector<prepared_text> batch = expected.prepare(model);
    counting_monitor whole;
    run_context undisturbed{whole, stop_flag{}};
    const embedding_rows found = model.run(batch, undisturbed);
    CHECK(whole.n_steps == n_layers);
    for (std::size_t i = 0; i < batch.size(); ++i)
        CHECK(largest_difference(found[i].value(), expected.rows[i]) < tolerance);

    counting_monitor stopping;
    stopping.stop_after = 1;
    run_context stopped{stopping, stopping.source.flag()};
    for (const auto& item : model.run(batch, stopped))
        CHECK(!item.ok());
    CHECK(stopping.n_steps == 1);
}

/// bf16 stays close to the reference in f32.
inline void check_direction(embedder& model, const embedding_case& expected, double least_cosine)
{
    const std::vector<prepared_text> batch = expected.prepare(model);
    const embedding_rows found = run(model, batch);
    for (std::size_t i = 0; i < batch.size(); ++i)
        CHECK(cosine(found[i].value(), expected.rows[i]) > least_cosine);
}

/// Inspection names the family and tells the numbers of the loaded model.
inline void
check_facts(const std::filesystem::path& dir, std::string_view family, const embedder& model)
{
    const models::checkpoint_facts facts = models::blocking_read_checkpoint_facts(dir);
    CHECK(facts.unsupported.empty());
    CHECK(facts.family == family);
    CHECK(facts.capability == "text_embedding");
    CHECK(facts.dim == model.info().dim);
    CHECK(facts.max_tokens == model.info().max_tokens);
    CHECK(facts.resident_bytes == model.bytes().shared_bytes);
    CHECK(facts.mapped_bytes == model.bytes().mapped_bytes);
    CHECK(facts.replica_bytes == model.bytes().replica_bytes);
    CHECK(models::find_embedder_loader(family) != nullptr);
}

}  // namespace modelpool::testing
