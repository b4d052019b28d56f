#include <modelpool/async/as_result.hpp>
#include <modelpool/registry/registry.hpp>

#include <boost/asio/strand.hpp>

#include <thread>

#include "pool/fixture.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using boost::asio::error::operation_aborted;

card card_of(std::string key, const std::shared_ptr<fake_plan>& plan)
{
    card one;
    one.key = key;
    one.repo = repository{key};
    one.load = any_loader::of<text_embedding>(fake_loader(plan));
    return one;
}

card image_card(std::string key)
{
    card one;
    one.key = std::move(key);
    one.load = any_loader::of<image_embedding>(loader<image_embedding>{});
    return one;
}

MODELPOOL_ASYNC_TEST(
    "registry: finding a model never loads it, its first operation does", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool embedders{rt};
    registry models{rt};
    models.use(embedders);
    auto plan = new_plan();
    card about = card_of("org/name", plan);
    about.aliases = {"short", "shorter"};
    about.prompts = {{"own", "o: "}};
    about.scaling = scaling_options{}.cold_start_workers(1).max_workers(1);
    auto adding = models.add(std::move(about));
    co_await std::move(adding);
    for (const char* name : {"org/name", "short", "shorter"}) {
        auto finding = models.find<text_embedding>(name);
        const embed_handle model = co_await std::move(finding);
        CHECK(model.key() == "org/name");
    }
    CHECK(plan->n_loader_calls == 0);
    auto again = models.find<text_embedding>("short");
    const embed_handle model = co_await std::move(again);
    auto call = model.embed("x", raw_rows().prompt_name("own"));
    const embeddings rows = co_await std::move(call);
    CHECK(rows.to_f32(0) == fake_row("o: x", 4));
    CHECK(stats_of(embedders, "org/name").n_spawned == 1);  // the card's own numbers
    auto clearing = models.clear();
    co_await std::move(clearing);
    auto ending = embedders.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("registry: every error names what it is about", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool embedders{rt};
    registry models{rt};
    auto plan = new_plan();
    std::vector<card> cards;
    cards.push_back(card_of("a", plan));
    cards.push_back(image_card("pictures"));
    auto adding = models.add(std::move(cards));
    co_await std::move(adding);

    auto unknown = outcome_of(models.find<text_embedding>("zebra"));
    const outcome no_key = co_await std::move(unknown);
    CHECK(no_key.code == registry_errc::unknown_key);
    CHECK(no_key.text.find("'zebra'") != std::string::npos);
    CHECK(no_key.text.find("a, pictures") != std::string::npos);
    for (const char* name : {"", "@", "a@", "@main", "zebra@main"}) {
        auto odd = outcome_of(models.find(name));
        const outcome seen = co_await std::move(odd);
        CHECK(seen.code == registry_errc::unknown_key);
    }
    auto wrong = outcome_of(models.find<text_embedding>("pictures"));
    const outcome capability = co_await std::move(wrong);
    CHECK(capability.code == registry_errc::wrong_capability);
    CHECK(capability.text.find("image_embedding") != std::string::npos);
    auto poolless = outcome_of(models.find<text_embedding>("a"));
    const outcome no_pool = co_await std::move(poolless);
    CHECK(no_pool.code == registry_errc::no_pool);
    CHECK(no_pool.text.find("text_embedding") != std::string::npos);
    auto absent = outcome_of(models.remove("zebra"));
    const outcome no_model = co_await std::move(absent);
    CHECK(no_model.code == registry_errc::unknown_key);
    auto stranger = outcome_of(models.add("by hand", embedders));
    const outcome no_group = co_await std::move(stranger);
    CHECK(no_group.code == pool_errc::unknown_model);
    models.use(embedders);
    auto ending = embedders.shutdown(1s);
    co_await std::move(ending);
    auto late = outcome_of(models.find<text_embedding>("a"));
    const outcome shut = co_await std::move(late);
    CHECK(shut.code == pool_errc::shut_down);
}

MODELPOOL_ASYNC_TEST(
    "registry: a name is taken once, over all capabilities, and all cards or none", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    registry models{rt};
    auto plan = new_plan();
    card first = card_of("a", plan);
    first.aliases = {"x"};
    auto adding = models.add(std::move(first));
    co_await std::move(adding);
    const auto refused = [&](card one, std::string in_text) -> awaitable<void> {
        std::vector<card> cards;
        cards.push_back(card_of("fresh", nullptr));
        cards.push_back(std::move(one));
        auto trying = outcome_of(models.add(std::move(cards)));
        const outcome seen = co_await std::move(trying);
        CHECK(seen.code == registry_errc::duplicate_key);
        CHECK(seen.text.find(in_text) != std::string::npos);
    };
    card alias_taken = image_card("b");
    alias_taken.aliases = {"x"};
    card key_taken_as_alias = image_card("c");
    key_taken_as_alias.aliases = {"a"};
    card twice = image_card("d");
    twice.aliases = {"d"};
    card alias_of_fresh = image_card("e");
    alias_of_fresh.aliases = {"fresh"};
    std::vector<std::pair<card, std::string>> all;
    all.emplace_back(image_card("a"), "'a' is taken by the text_embedding model 'a'");
    all.emplace_back(image_card("x"), "'x' is taken by the text_embedding model 'a'");
    all.emplace_back(alias_taken, "'x'");
    all.emplace_back(key_taken_as_alias, "'a'");
    all.emplace_back(twice, "given twice");
    all.emplace_back(alias_of_fresh, "'fresh'");
    for (auto& [one, text] : all) {
        auto trying = refused(std::move(one), std::move(text));
        co_await std::move(trying);
    }
    auto listing_all = models.list();
    const std::vector<listing> left = co_await std::move(listing_all);
    REQUIRE(left.size() == 1);
    CHECK(left[0].key == "a");
}

MODELPOOL_ASYNC_TEST("registry: a revision of a card is a model of its own", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool embedders{rt};
    registry models{rt};
    models.use(embedders);
    auto plan = new_plan();
    auto sources = std::make_shared<std::vector<std::string>>();
    card about = card_of("org/name", plan);
    about.aliases = {"short"};
    about.load = any_loader::of<text_embedding>([plan, sources](load_context context) {
        sources->push_back(context.source().repo.str());
        return load_fake(plan, std::move(context));
    });
    about.scaling = scaling_options{}.cold_start_workers(1);
    auto adding = models.add(std::move(about));
    co_await std::move(adding);
    auto not_there = outcome_of(models.remove("short@v2"));
    const outcome unknown = co_await std::move(not_there);
    CHECK(unknown.code == registry_errc::unknown_key);
    for (const char* name : {"short@v2", "org/name@v2", "org/name"}) {
        auto finding = models.find<text_embedding>(name);
        const embed_handle model = co_await std::move(finding);
        auto call = model.embed("x");
        co_await std::move(call);
    }
    CHECK(*sources == std::vector<std::string>{"org/name@v2", "org/name@main"});
    auto removing = models.remove("short@v2");
    co_await std::move(removing);
    CHECK_FALSE(embedders.has("org/name@v2"));
    CHECK(embedders.has("org/name"));
    auto ending = embedders.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST(
    "registry: models made by hand are found, and end when they are removed", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    auto plan = new_plan();
    registry models{rt};
    {
        embed_pool embedders{rt};
        auto spawning = embedders.spawn_worker("hand", fake_loader(plan));
        co_await std::move(spawning);
        auto adding = models.add("hand", embedders);
        co_await std::move(adding);
        auto twice = outcome_of(models.add("hand", embedders));
        const outcome again = co_await std::move(twice);
        CHECK(again.code == registry_errc::duplicate_key);
        auto finding = models.find<text_embedding>("hand");
        const embed_handle model = co_await std::move(finding);
        auto call = model.embed("x");
        co_await std::move(call);
        auto describing = models.find("hand");
        const listing seen = co_await std::move(describing);
        CHECK(seen.has_group);
        CHECK_FALSE(seen.about);
        CHECK(seen.kind == capability::text_embedding);
        auto removing = models.remove("hand");
        co_await std::move(removing);
        CHECK(plan->n_alive == 0);
        CHECK_FALSE(embedders.has("hand"));
        auto third = embedders.spawn_worker("hand", fake_loader(plan));
        co_await std::move(third);
        auto back = models.add("hand", embedders);
        co_await std::move(back);
        auto ending = embedders.remove("hand", 1s);
        co_await std::move(ending);
        auto gone = outcome_of(models.find<text_embedding>("hand"));
        const outcome lost = co_await std::move(gone);
        CHECK(lost.code == pool_errc::unknown_model);
    }
    auto finding = outcome_of(models.find<text_embedding>("hand"));
    const outcome seen = co_await std::move(finding);
    CHECK(seen.code == pool_errc::shut_down);
}

MODELPOOL_ASYNC_TEST("registry: revisions that nobody uses make room for new ones", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool embedders{rt};
    registry models{rt};
    models.use(embedders);
    auto plan = new_plan();
    auto adding = models.add(card_of("org/name", plan));
    co_await std::move(adding);
    auto finding_used = models.find<text_embedding>("org/name@used");
    const embed_handle used = co_await std::move(finding_used);
    auto loading = used.embed("x");
    co_await std::move(loading);
    for (int i = 0; i < 500; ++i) {
        auto finding = models.find<text_embedding>("org/name@r" + std::to_string(i));
        co_await std::move(finding);
    }
    auto listing_all = models.list();
    const std::vector<listing> all = co_await std::move(listing_all);
    CHECK(all.size() == 1 + detail::registry_core::n_most_revisions);
    CHECK(embedders.stats().size() == detail::registry_core::n_most_revisions);
    auto again = used.embed("y");  // one that has a worker stays
    co_await std::move(again);
    auto ending = embedders.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("registry: changes can be followed", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    event_subscription events = rt.events({event_kind::model_added, event_kind::model_removed});
    embed_pool embedders{rt};
    registry models{rt};
    models.use(embedders);
    auto plan = new_plan();
    std::vector<card> cards{card_of("a", plan), card_of("b", plan)};
    auto adding = models.add(std::move(cards));
    co_await std::move(adding);
    auto finding = models.find<text_embedding>("a@other");
    co_await std::move(finding);
    auto removing = models.remove("a");
    co_await std::move(removing);
    auto clearing = models.clear();
    co_await std::move(clearing);
    std::vector<std::string> told;
    while (const std::optional<event> one = events.try_next()) {
        CHECK(one->pool == "text_embedding");
        told.push_back((one->kind == event_kind::model_added ? "+" : "-") + one->model);
    }
    CHECK(told == std::vector<std::string>{"+a", "+b", "+a@other", "-a", "-a@other", "-b"});
    auto ending = embedders.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST(
    "registry: every name that is listed resolves, typed and untyped", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool embedders{rt};
    registry models{rt};
    models.use(embedders);
    auto plan = new_plan();
    std::vector<card> cards;
    for (const char* key : {"org/one", "org/two"}) {
        cards.push_back(card_of(key, plan));
        cards.back().aliases = {std::string{key} + " for short", std::string{key}.substr(4)};
    }
    auto adding = models.add(std::move(cards));
    co_await std::move(adding);
    embedders.add("hand", fake_loader(plan));
    auto by_hand = models.add("hand", embedders);
    co_await std::move(by_hand);
    auto listing_all = models.list();
    const std::vector<listing> all = co_await std::move(listing_all);
    std::size_t n_names = 0;
    for (const listing& one : all) {
        std::vector<std::string> names{one.key};
        if (one.about)
            names.insert(names.end(), one.about->aliases.begin(), one.about->aliases.end());
        for (const std::string& name : names) {
            auto finding = models.find<text_embedding>(name);
            const embed_handle model = co_await std::move(finding);
            CHECK(model.key() == one.key);
            auto describing = models.find(name);
            const listing found = co_await std::move(describing);
            CHECK(found.key == one.key);
            auto call = model.embed(name);
            co_await std::move(call);
            ++n_names;
        }
    }
    CHECK(n_names == 7);
    auto ending = embedders.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("registry: list and clear", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool embedders{rt};
    registry models{rt};
    models.use(embedders);
    auto plan = new_plan();
    std::vector<card> cards;
    for (const char* key : {"c", "a", "b"})
        cards.push_back(card_of(key, plan));
    auto adding = models.add(std::move(cards));
    co_await std::move(adding);
    auto finding = models.find<text_embedding>("b");
    const embed_handle model = co_await std::move(finding);
    auto listing_all = models.list();
    const std::vector<listing> all = co_await std::move(listing_all);
    REQUIRE(all.size() == 3);
    CHECK(all[0].key == "a");
    CHECK_FALSE(all[0].has_group);
    CHECK(all[1].has_group);
    CHECK(all[2].about->repo.id() == "c");
    auto clearing = models.clear();
    co_await std::move(clearing);
    auto empty = models.list();
    const std::vector<listing> none = co_await std::move(empty);
    CHECK(none.empty());
    auto call = model.embed("x");  // what its pool runs goes on
    co_await std::move(call);
    auto ending = embedders.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("registry: remove drains what runs", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool embedders{rt};
    registry models{rt};
    models.use(embedders);
    auto plan = new_plan();
    plan->run_door.shut();
    auto adding = models.add(card_of("a", plan));
    co_await std::move(adding);
    auto finding = models.find<text_embedding>("a");
    const embed_handle model = co_await std::move(finding);
    const started<embeddings> call{ex, model.embed("x")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<void> removing{ex, models.remove("a", 1h)};
    auto late = outcome_of(models.find<text_embedding>("a"));
    const outcome unknown = co_await std::move(late);
    CHECK(unknown.code == registry_errc::unknown_key);
    plan->run_door.open();
    auto served = call.end();
    const outcome seen = co_await std::move(served);
    CHECK(seen.ok());
    auto removed = removing.get();
    co_await std::move(removed);
    CHECK(plan->n_alive == 0);
}

TEST_CASE("registry: the capabilities of loaders are told apart", "[registry]")
{
    CHECK(any_loader::of<vision>(loader<vision>{}).kind() == capability::vision);
    CHECK(any_loader::of<text_to_text>(loader<text_to_text>{}).kind() == capability::text_to_text);
    CHECK(
        any_loader::of<text_to_image>(loader<text_to_image>{}).kind() == capability::text_to_image);
    const any_loader made = any_loader::of<text_embedding>(fake_loader(new_plan()));
    CHECK(made.get<text_embedding>());
    CHECK_FALSE(made.get<image_embedding>());
    CHECK(to_string(capability_of<vision>()) == "vision");
}

awaitable<void>
add_and_find(std::shared_ptr<registry> models, std::shared_ptr<fake_plan> plan, int seed)
{
    for (int i = 0; i < 40; ++i) {
        // Half of the keys are wanted by two of the coroutines.
        auto adding =
            as_result(models->add(card_of("k" + std::to_string(seed / 2 * 100 + i), plan)));
        const result<void> added = co_await std::move(adding);
        if (added.has_error() && added.error() != registry_errc::duplicate_key)
            throw boost::system::system_error{added.error()};
        auto finding = models->find<text_embedding>("k" + std::to_string(seed / 2 * 100 + i));
        const embed_handle model = co_await std::move(finding);
        if (i % 8 == 0) {
            auto call = model.embed("x");
            co_await std::move(call);
        }
        auto listing_all = models->list();
        co_await std::move(listing_all);
    }
}

TEST_CASE("registry: is used from four threads at once", "[registry]")
{
    const leak_check nothing_left;
    {
        boost::asio::io_context io;
        runtime rt{io.get_executor()};
        auto plan = new_plan();
        auto embedders = std::make_unique<embed_pool>(
            rt, pool_options{}.scaling(scaling_options{}.cold_start_workers(1).max_workers(1)));
        auto models = std::make_shared<registry>(rt);
        models->use(*embedders);
        std::atomic<int> n_failed{0};
        for (int i = 0; i < 4; ++i)
            boost::asio::co_spawn(
                boost::asio::make_strand(io),
                add_and_find(models, plan, i),
                [&](std::exception_ptr failure) { n_failed += failure ? 1 : 0; });
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&] { io.run(); });
        for (std::thread& one : threads)
            one.join();
        CHECK(n_failed == 0);
        CHECK(embedders->stats().size() == 80);
        embedders.reset();
        CHECK(plan->n_alive == 0);
    }
    nothing_left.require();
}

awaitable<void> remove_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool embedders{rt};
    auto models = std::make_shared<registry>(rt);
    models->use(embedders);
    auto plan = new_plan();
    auto adding = models->add(card_of("a", plan));
    co_await std::move(adding);
    auto finding = models->find<text_embedding>("a");
    const embed_handle model = co_await std::move(finding);
    const started<embeddings> call{ex, model.embed("x")};
    auto running = step.cancellable(models->remove("a", 1h));
    co_await std::move(running);
    CHECK_FALSE(embedders.has("a"));
    auto end = call.end();
    const outcome seen = co_await std::move(end);
    CHECK((seen.ok() || seen.code == pool_errc::shut_down));
    auto ending = embedders.shutdown(5s);
    co_await std::move(ending);
    CHECK(plan->n_alive == 0);
}

TEST_CASE("registry: a remove cancelled at every point", "[registry]")
{
    sweep_cancellation(&remove_scenario);
}

}  // namespace
}  // namespace modelpool
