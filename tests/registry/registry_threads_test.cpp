// A registry used by many callers on several threads.

#include <modelpool/pool/pool.hpp>
#include <modelpool/registry/registry.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/random_pool.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

using image_pool = pool<image_embedding>;

/// What the callers use. It outlives them.
struct town {
    town() { names.use(texts); }

    problems wrong;
    std::shared_ptr<fake_plan> plan = new_plan();
    test_clock time;
    boost::asio::io_context io;
    runtime rt{io.get_executor(), runtime_options{}.time(time).n_cores(2)};
    embed_pool texts{
        rt, pool_options{}.scaling(scaling_options{}.cold_start_workers(1).max_workers(1))};
    image_pool images{rt};
    registry names{rt};
};

/// A card whose every field follows from its key.
card card_of(const town& all, const std::string& key, capability kind)
{
    card one;
    one.key = key;
    one.aliases = {key + "/one", key + "/other"};
    one.repo = repository{"repo-" + key};
    one.context_length = key.size();
    one.licence = "licence of " + key;
    if (kind == capability::text_embedding)
        one.load = any_loader::of<text_embedding>(fake_loader(all.plan));
    else
        one.load = any_loader::of<image_embedding>(loader<image_embedding>{});
    return one;
}

/// Whether an entry is what `card_of` makes, or a revision of that.
bool is_whole(const listing& seen)
{
    if (!seen.about) return false;
    const card& about = *seen.about;
    const std::string base = seen.key.substr(0, seen.key.find('@'));
    const bool is_revision = base != seen.key;
    const std::vector<std::string> aliases{base + "/one", base + "/other"};
    return about.key == seen.key && about.kind() == seen.kind &&
           about.repo.id() == "repo-" + base && about.context_length == base.size() &&
           about.licence == "licence of " + base &&
           about.aliases == (is_revision ? std::vector<std::string>{} : aliases);
}

/// How an operation ended, where it may fail in one of these ways.
template <class T>
awaitable<bool>
ends_well(town& all, awaitable<T> operation, std::vector<boost::system::error_code> may_fail_with)
{
    auto ending = outcome_of(std::move(operation));
    const outcome seen = co_await std::move(ending);
    const auto is_it = [&](const auto& code) { return seen.code == code; };
    if (!seen.ok() && std::none_of(may_fail_with.begin(), may_fail_with.end(), is_it))
        all.wrong.note("an operation failed: " + seen.text);
    co_return seen.ok();
}

void spawn(town& all, awaitable<void> operation)
{
    boost::asio::co_spawn(
        boost::asio::make_strand(all.io),
        std::move(operation),
        [&all](const std::exception_ptr& failure) {
            if (failure) all.wrong.note("a caller threw: " + detail::text_of(failure));
        });
}

std::string nothing_more()
{
    return "callers of a registry wait for one another";
}

// --- everything at once -------------------------------------------------------------------------------------------

constexpr std::size_t n_calls = 500;

awaitable<void> use_names(town& all, std::uint64_t seed)
{
    dice chance{seed};
    for (std::size_t i = 0; i < n_calls; ++i) {
        const std::string key = "model-" + std::to_string(chance.below(40));
        const std::string name = key + (chance.percent(50) ? "" : "/other");
        const std::size_t which = chance.below(100);
        if (which < 30) {
            auto kind =
                chance.percent(70) ? capability::text_embedding : capability::image_embedding;
            std::vector<boost::system::error_code> known{registry_errc::duplicate_key};
            auto adding = ends_well(all, all.names.add(card_of(all, key, kind)), known);
            co_await std::move(adding);
        } else if (which < 60) {
            std::vector<boost::system::error_code> known{
                registry_errc::unknown_key, registry_errc::wrong_capability};
            auto finding = ends_well(
                all,
                all.names.find<text_embedding>(chance.percent(10) ? name + "@v2" : name),
                known);
            co_await std::move(finding);
        } else if (which < 75) {
            auto describing = outcome_of(all.names.find(name));
            const outcome seen = co_await std::move(describing);
            if (!seen.ok() && seen.code != registry_errc::unknown_key)
                all.wrong.note("a model could not be described: " + seen.text);
        } else if (which < 90) {
            std::vector<boost::system::error_code> known{registry_errc::unknown_key};
            auto removing = ends_well(all, all.names.remove(name, 0s), known);
            co_await std::move(removing);
        } else {
            auto listing_all = all.names.list();
            const std::vector<listing> seen = co_await std::move(listing_all);
            for (const listing& one : seen)
                all.wrong.expect(
                    is_whole(one) || one.key == "busy", "the list shows an entry half made");
        }
    }
}

/// A model that is at work, and is being removed all the while.
awaitable<void> hold_up(town& all, std::shared_ptr<std::atomic<std::size_t>> n_at_work)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto busy = new_plan();
    busy->run_door.shut();
    all.texts.add("busy", fake_loader(busy));
    auto adding = all.names.add("busy", all.texts);
    co_await std::move(adding);
    auto finding = all.names.find<text_embedding>("busy");
    const embed_handle model = co_await std::move(finding);
    const started<embeddings> call{ex, model.embed("x")};
    auto at_work = until([busy] { return busy->run_door.n_waiting() == 1; });
    co_await std::move(at_work);
    const started<void> removing{ex, all.names.remove("busy", 1h)};
    auto others = until([n_at_work] { return *n_at_work == 0; });
    co_await std::move(others);
    all.wrong.expect(!removing.done(), "a removal did not wait for the work");
    busy->run_door.open();
    auto removed = removing.get();
    co_await std::move(removed);
    auto served = call.get();
    co_await std::move(served);
}

awaitable<void>
use_and_tell(town& all, std::uint64_t seed, std::shared_ptr<std::atomic<std::size_t>> n_at_work)
{
    auto using_them = use_names(all, seed);
    co_await std::move(using_them);
    --*n_at_work;
}

TEST_CASE(
    "registry: callers on several threads see whole entries, and wait for nobody", "[registry]")
{
    const std::uint64_t seed = test_seed();
    INFO("MODELPOOL_TEST_SEED=" << seed << " repeats this run's operations");
    const leak_check nothing_left;
    {
        town all;
        auto n_at_work = std::make_shared<std::atomic<std::size_t>>(16);
        spawn(all, hold_up(all, n_at_work));
        for (std::size_t i = 0; i < 16; ++i)
            spawn(all, use_and_tell(all, seed * 1000 + i, n_at_work));
        run_on_threads(all.io, 4, &nothing_more);
        INFO(all.wrong.first());
        CHECK(all.wrong.n() == 0);
        CHECK(*n_at_work == 0);
        CHECK_FALSE(all.texts.has("busy"));
    }
    nothing_left.require();
}

// --- one name for one model ------------------------------------------------------------------------------------------

constexpr std::size_t n_rivals = 8;
constexpr std::size_t n_rounds = 300;

struct round_count {
    std::atomic<std::size_t> n_added{0};
    std::atomic<std::size_t> n_refused{0};
};

/// Wants each name for a model of its own: as a key or as an alias, of one capability or another.
awaitable<void>
compete(town& all, std::shared_ptr<std::array<round_count, n_rounds>> rounds, std::size_t rival)
{
    for (std::size_t i = 0; i < n_rounds; ++i) {
        const std::string name = "name-" + std::to_string(i);
        const bool as_alias = (rival + i) % 2 == 1;
        const auto kind = rival % 4 < 2 ? capability::text_embedding : capability::image_embedding;
        card mine = card_of(all, as_alias ? name + "-of-" + std::to_string(rival) : name, kind);
        mine.aliases.clear();
        if (as_alias) mine.aliases.push_back(name);
        std::vector<boost::system::error_code> known{registry_errc::duplicate_key};
        auto adding = ends_well(all, all.names.add(std::move(mine)), known);
        const bool added = co_await std::move(adding);
        ++(added ? rounds->at(i).n_added : rounds->at(i).n_refused);
    }
}

TEST_CASE(
    "registry: of callers who want one name on several threads exactly one gets it", "[registry]")
{
    const leak_check nothing_left;
    {
        town all;
        auto rounds = std::make_shared<std::array<round_count, n_rounds>>();
        for (std::size_t i = 0; i < n_rivals; ++i)
            spawn(all, compete(all, rounds, i));
        run_on_threads(all.io, 4, &nothing_more);
        INFO(all.wrong.first());
        CHECK(all.wrong.n() == 0);
        bool one_each = true;
        for (const round_count& one : *rounds)
            one_each = one_each && one.n_added == 1 && one.n_refused == n_rivals - 1;
        CHECK(one_each);
        std::size_t n_left = 0;
        auto count = [](town& in, std::size_t& n) -> awaitable<void> {
            auto listing_all = in.names.list();
            const std::vector<listing> seen = co_await std::move(listing_all);
            n = seen.size();
        };
        spawn(all, count(all, n_left));
        run_on_threads(all.io, 1, &nothing_more);
        CHECK(n_left == n_rounds);
    }
    nothing_left.require();
}

// --- revisions -----------------------------------------------------------------------------------------------------

/// Names revisions, of which only so many are kept, and uses those that it named before.
awaitable<void> use_revisions(town& all, std::uint64_t seed)
{
    dice chance{seed};
    std::vector<embed_handle> known;
    for (std::size_t i = 0; i < 150; ++i) {
        const std::string name = "model@r" + std::to_string(chance.below(300));
        auto finding = all.names.find<text_embedding>(name);
        known.push_back(co_await std::move(finding));
        if (chance.percent(10)) all.time.advance(60s);
        if (!chance.percent(20)) continue;
        std::vector<boost::system::error_code> may{pool_errc::shut_down};
        auto call = ends_well(all, known.at(chance.below(known.size())).embed("x"), may);
        co_await std::move(call);
    }
}

TEST_CASE("registry: revisions come and go under callers that use them", "[registry]")
{
    const std::uint64_t seed = test_seed();
    INFO("MODELPOOL_TEST_SEED=" << seed << " repeats this run's operations");
    const leak_check nothing_left;
    {
        town all;
        spawn(all, all.names.add(card_of(all, "model", capability::text_embedding)));
        run_on_threads(all.io, 1, &nothing_more);
        for (std::size_t i = 0; i < 8; ++i)
            spawn(all, use_revisions(all, seed * 1000 + i));
        run_on_threads(all.io, 4, &nothing_more);
        INFO(all.wrong.first());
        CHECK(all.wrong.n() == 0);
        CHECK(all.texts.stats().size() <= detail::registry_core::n_most_revisions);
    }
    nothing_left.require();
}

}  // namespace
}  // namespace modelpool
