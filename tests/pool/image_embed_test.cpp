// What requests for embeddings of images, and of texts beside them, meet in a pool.

#include <modelpool/hub/fetcher.hpp>
#include <modelpool/pool/image_embed_handle.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "pool/fixture.hpp"
#include "support/fake_image_embedder.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using boost::asio::error::operation_aborted;

using image_pool = pool<image_embedding>;
using image_handle = handle<image_embedding>;

std::shared_ptr<fake_picture_plan> new_image_plan()
{
    return std::make_shared<fake_picture_plan>();
}

std::vector<image_source> images_named(const std::vector<std::string>& names)
{
    std::vector<image_source> made;
    made.reserve(names.size());
    for (const std::string& name : names)
        made.push_back(image_named(name));
    return made;
}

std::vector<image_source> numbered_images(std::size_t n)
{
    std::vector<image_source> made;
    made.reserve(n);
    for (std::size_t i = 0; i < n; ++i)
        made.push_back(image_named("image " + std::to_string(i)));
    return made;
}

image_embed_options raw_images()
{
    return image_embed_options{}.normalize(false);
}

model_stats stats_of(const image_pool& models)
{
    const std::vector<model_stats> all = models.stats();
    return all.empty() ? model_stats{} : all.front();
}

/// A web in which an address has the image of its last part, and "missing" is not there.
class fake_web final : public fetcher {
public:
    awaitable<snapshot> fetch(repository, file_selection, on_fetch_progress) override
    {
        throw error{hub_errc::not_found, "the fake has no repositories"};
    }
    awaitable<std::vector<std::byte>> get(std::string url, url_limits limits) override
    {
        return answer(this, std::move(url), limits);
    }

    std::size_t n_gets{0};
    std::uint64_t max_bytes{0};
    std::function<void()> on_get;

private:
    static awaitable<std::vector<std::byte>>
    answer(fake_web* self, std::string url, url_limits limits)
    {
        auto turn = boost::asio::post(
            co_await boost::asio::this_coro::executor, boost::asio::use_awaitable);
        co_await std::move(turn);
        ++self->n_gets;
        self->max_bytes = limits.max_bytes();
        if (self->on_get) self->on_get();
        if (url.ends_with("missing")) throw error{hub_errc::not_found, "404"};
        co_return std::get<image_bytes>(image_named(url.substr(url.rfind('/') + 1))).bytes;
    }
};

image_source address_of(const std::string& name)
{
    return image_url{"http://pictures.example/" + name};
}

MODELPOOL_ASYNC_TEST(
    "image pool: rows come in the order of the images, of unit length unless told otherwise",
    "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan));
    std::vector<image_source> images = images_named({"cat"});
    images.emplace_back(image_file{"dog"});
    images.emplace_back(image{1, 1, {'o', 'w', 'l'}});
    auto raw = model.embed(images, raw_images());
    const embeddings rows = co_await std::move(raw);
    REQUIRE(rows.size() == 3);
    CHECK(rows.to_f32(0) == fake_row("cat", 4));
    CHECK(rows.to_f32(1) == fake_row("dog", 4));
    CHECK(rows.to_f32(2) == fake_row("owl", 4));
    CHECK_FALSE(rows.normalized());
    CHECK(rows.usage().n_tokens == 0);
    auto unit = model.embed(image_named("cat"));
    const embeddings one = co_await std::move(unit);
    REQUIRE(one.size() == 1);
    CHECK(one.normalized());
    CHECK(std::hypot(one[0][0], one[0][1], std::hypot(one[0][2], one[0][3])) == Approx(1));
    CHECK(cosine(one[0], rows[0]) == Approx(1));
    auto packed = model.embed(images, raw_images().encoding(embedding_dtype::binary));
    const embeddings bits = co_await std::move(packed);
    CHECK(bits.dtype() == embedding_dtype::binary);
    CHECK(bits.bytes(2).size() == 1);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
}

MODELPOOL_ASYNC_TEST("image pool: texts share the space of the images", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    plan->max_text_tokens = 20;
    const image_handle model =
        models.add("m", fake_loader(plan), model_options{}.prompts({{"photo", "a photo of a "}}));
    auto plain = model.embed_text(strings("cat", "dog"), raw_rows());
    const embeddings rows = co_await std::move(plain);
    CHECK(rows.to_f32(0) == fake_row("cat", 4));
    CHECK(rows.to_f32(1) == fake_row("dog", 4));
    CHECK(rows.usage().n_tokens == 6);
    auto prompted = model.embed_text("cat", raw_rows().prompt_name("photo"));
    const embeddings photo = co_await std::move(prompted);
    CHECK(photo.to_f32(0) == fake_row("a photo of a cat", 4));
    auto large = model.embed_text("a text of more than twenty letters", raw_rows());
    const embeddings cut = co_await std::move(large);
    CHECK(cut.to_f32(0) == fake_row("a text of more than ", 4));
    CHECK(cut.usage().n_truncated == 1);
    auto wide = outcome_of(model.embed_text("cat", embed_options{}.dimension(7)));
    const outcome dim = co_await std::move(wide);
    CHECK(dim.code == errc::invalid_argument);
    auto about = model.info();
    const image_embedder_info info = co_await std::move(about);
    CHECK(info.dim == 4);
    CHECK(info.image_size == 2);
    CHECK(info.logit_scale == 10.0);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
}

MODELPOOL_ASYNC_TEST("image pool: a request without inputs loads no model", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan));
    std::vector<awaitable<outcome>> calls;
    calls.push_back(outcome_of(model.embed(std::vector<image_source>{})));
    calls.push_back(outcome_of(model.embed_text(std::vector<std::string>{})));
    calls.push_back(outcome_of(model.similarity({}, strings("cat", "dog"))));
    calls.push_back(outcome_of(model.similarity(images_named({"cat"}), {})));
    const std::vector<std::string> texts{
        "no images were given",
        "no texts were given",
        "no images were given",
        "no texts were given"};
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const outcome seen = co_await std::move(calls[i]);
        CHECK(seen.code == errc::invalid_argument);
        CHECK(seen.text == texts[i]);
    }
    CHECK(plan->n_builds == 0);
    CHECK(stats_of(models).n_requests == 0);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("image pool: a model without a text tower refuses texts", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    plan->max_text_tokens = 0;
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    auto texts = outcome_of(model.embed_text("cat"));
    const outcome refused = co_await std::move(texts);
    CHECK(refused.code == errc::unsupported);
    CHECK(refused.text.find("no text tower") != std::string::npos);
    auto both = outcome_of(model.similarity(images_named({"cat"}), strings("cat", "dog")));
    const outcome uncompared = co_await std::move(both);
    CHECK(uncompared.code == errc::unsupported);
    CHECK(plan->batches().empty());  // nothing was computed in vain
    auto images = outcome_of(model.embed(image_named("cat")));
    const outcome fine = co_await std::move(images);
    CHECK(fine.ok());
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
}

MODELPOOL_ASYNC_TEST(
    "image pool: one bad image or text fails its own request only, and is named", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt, pool_options{}.batch_images(100)};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> first{ex, model.embed(image_named("first"))};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    // These share the next batches.
    const std::vector<std::pair<std::string, boost::system::error_code>> cases{
        {"bad image", errc::invalid_argument},
        {"huge image", model_errc::out_of_memory},
        {"bad row", model_errc::failed},
        {"not a number", model_errc::failed},
        {"short row", model_errc::failed}};
    std::vector<started<embeddings>> bad;
    bad.reserve(cases.size());
    for (const auto& one : cases)
        bad.emplace_back(ex, model.embed(images_named({"fine", one.first})));
    const started<embeddings> text{ex, model.embed_text(strings("bad text", "fine"))};
    const started<embeddings> good{ex, model.embed(image_named("good"), raw_images())};
    const started<embeddings> good_text{ex, model.embed_text("good", raw_rows())};
    plan->run_door.open();
    for (std::size_t i = 0; i < cases.size(); ++i) {
        auto ending = bad[i].end();
        const outcome seen = co_await std::move(ending);
        CHECK(seen.code == cases[i].second);
        CHECK(seen.text.find("image 1: ") == 0);
    }
    auto text_end = text.end();
    const outcome text_seen = co_await std::move(text_end);
    CHECK(text_seen.text == "text 0: byte 3 is no UTF-8");
    for (const auto* one : {&good, &good_text}) {
        auto ending = one->get();
        const embeddings rows = co_await std::move(ending);
        CHECK(rows.to_f32(0) == fake_row("good", 4));
    }
    CHECK(plan->batches() == "iti");
    auto first_end = first.get();
    co_await std::move(first_end);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    const model_stats seen = stats_of(models);
    CHECK(seen.n_failed == 6);
    CHECK(seen.n_spawned == 1);  // none of it harmed the worker
    CHECK(adds_up(seen));
}

MODELPOOL_ASYNC_TEST(
    "image pool: a failed batch reaches its requests, and the worker lives", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    auto large = outcome_of(model.embed(images_named({"no memory", "x"})));
    const outcome memory = co_await std::move(large);
    CHECK(memory.code == model_errc::out_of_memory);
    auto text = outcome_of(model.embed_text("bad batch"));
    const outcome batch = co_await std::move(text);
    CHECK(batch.code == model_errc::failed);
    CHECK(batch.text.find("the batch failed") != std::string::npos);
    auto next = model.embed(image_named("good"), raw_images());
    const embeddings rows = co_await std::move(next);
    CHECK(rows.to_f32(0) == fake_row("good", 4));
    CHECK(plan->n_builds == 1);
    auto strange = model.embed(image_named("strange image"));
    bool untouched = false;
    try {
        co_await std::move(strange);
    } catch (const std::logic_error&) {
        untouched = true;
    }
    CHECK(untouched);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
}

MODELPOOL_ASYNC_TEST("image pool: images and texts take turns, whoever came first", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt, pool_options{}.batch_images(4).batch_tokens(40)};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> first{ex, model.embed(image_named("first"))};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<embeddings> images{ex, model.embed(numbered_images(400), raw_images())};
    std::vector<std::string> many;
    many.reserve(10'000);
    for (int i = 0; i < 10'000; ++i)
        many.push_back("text " + std::to_string(i));
    const started<embeddings> texts{ex, model.embed_text(many, raw_rows())};
    const started<embeddings> small{ex, model.embed(image_named("small"), raw_images())};
    const started<embeddings> small_text{ex, model.embed_text("small", raw_rows())};
    auto all_queued = until([&] { return stats_in(models).n_requests == 5; });
    co_await std::move(all_queued);
    plan->run_door.open();
    for (const auto* one : {&small, &small_text}) {
        auto ending = one->get();
        const embeddings row = co_await std::move(ending);
        CHECK(row.to_f32(0) == fake_row("small", 4));
    }
    auto images_end = images.get();
    const embeddings image_rows = co_await std::move(images_end);
    auto texts_end = texts.get();
    const embeddings text_rows = co_await std::move(texts_end);
    // The images did not wait for the texts that came before them.
    const std::string batches = plan->batches();
    CHECK(batches.rfind('i') < batches.size() - 1);
    CHECK(batches.find('t') < batches.rfind('i'));
    REQUIRE(image_rows.size() == 400);
    REQUIRE(text_rows.size() == many.size());
    bool all_right = true;
    for (std::size_t i = 0; i < 400; ++i)
        all_right = all_right && image_rows.to_f32(i) == fake_row("image " + std::to_string(i), 4);
    for (std::size_t i = 0; i < many.size(); ++i)
        all_right = all_right && text_rows.to_f32(i) == fake_row(many[i], 4);
    CHECK(all_right);
    CHECK(plan->n_largest_batch == 4);
    CHECK(plan->n_most_tokens <= 40);
    const std::string order = plan->batches().substr(0, 150);
    // One more of a kind may go where nothing of the other had been taken yet.
    CHECK(order.find("iii") == std::string::npos);
    CHECK(order.find("ttt") == std::string::npos);
    auto first_end = first.get();
    co_await std::move(first_end);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("image pool: images are decoded less than two batches ahead", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    for (const std::size_t limit : {std::size_t{1}, std::size_t{3}, std::size_t{8}}) {
        image_pool models{rt, pool_options{}.batch_images(limit)};
        auto plan = new_image_plan();
        const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
        const started<embeddings> one{ex, model.embed(numbered_images(100))};
        const started<embeddings> other{ex, model.embed(numbered_images(100))};
        auto one_end = one.get();
        co_await std::move(one_end);
        auto other_end = other.get();
        co_await std::move(other_end);
        CHECK(plan->n_largest_batch == limit);
        CHECK(plan->n_most_ahead < 2 * limit);
        CHECK(plan->n_ahead == 0);
        auto ending = models.shutdown(5s);
        co_await std::move(ending);
    }
}

MODELPOOL_ASYNC_TEST(
    "image pool: workers share a model, and each dies on the thread it was made on", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const auto here = std::this_thread::get_id();
    auto plan = new_image_plan();
    plan->bytes.shared_bytes = 1000;
    plan->bytes.replica_bytes = 10;
    {
        runtime rt{ex};
        image_pool models{rt, pool_options{}.batch_images(2)};
        const image_handle model = models.add(
            "m", fake_loader(plan), workers(2, 2).worker(worker_options{}.warm_up(true)));
        auto all = model.embed(numbered_images(60), raw_images());
        const embeddings rows = co_await std::move(all);
        CHECK(rows.to_f32(59) == fake_row("image 59", 4));
        auto both = until([plan] { return plan->n_replicas == 1; });
        co_await std::move(both);
        auto texts = model.embed_text("x");
        co_await std::move(texts);
        CHECK(stats_of(models).shared_bytes == 1000);
        auto ending = models.shutdown(5s);
        co_await std::move(ending);
    }
    CHECK(plan->n_builds == 1);
    CHECK(plan->n_warm_ups >= 1);
    CHECK(plan->n_alive == 0);
    for (const auto* journal : {&plan->built, &plan->prepared, &plan->ran, &plan->destroyed}) {
        CHECK(journal->n_entries() > 0);
        CHECK_FALSE(journal->threads().contains(here));
    }
    CHECK(plan->built.threads() == plan->destroyed.threads());
}

MODELPOOL_ASYNC_TEST("image pool: a model that cannot be shared is loaded again", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    plan->shares = false;
    const image_handle model = models.add("m", fake_loader(plan), workers(2, 2));
    auto call = model.embed(image_named("x"));
    co_await std::move(call);
    auto both = until([plan] { return plan->n_builds == 2; });
    co_await std::move(both);
    CHECK(plan->n_replicas == 0);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST(
    "image pool: a shutdown in a batch answers shut_down, not what the stopped model gave",
    "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    fake_web web;
    runtime rt{ex, web};
    image_pool models{rt, pool_options{}.batch_images(2)};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->build_door.shut();
    plan->run_door.shut();
    const started<embeddings> running{ex, model.embed(numbered_images(2))};
    const started<embeddings> text{ex, model.embed_text("x")};
    plan->build_door.open();
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);  // the worker has taken the text, too
    const started<embeddings> long_one{ex, model.embed(numbered_images(20))};
    auto ending = models.shutdown(1ms);
    co_await std::move(ending);
    for (const auto* one : {&running, &long_one, &text}) {
        auto end = one->end();
        const outcome seen = co_await std::move(end);
        CHECK(seen.code == pool_errc::shut_down);
    }
    auto late = outcome_of(model.embed(address_of("late")));
    const outcome refused = co_await std::move(late);
    CHECK(refused.code == pool_errc::shut_down);
    CHECK(plan->n_alive == 0);
    CHECK(adds_up(stats_of(models)));
}

MODELPOOL_ASYNC_TEST("image pool: a handle without a pool says so, whatever it is asked", "[pool]")
{
    const image_handle model;
    std::vector<awaitable<outcome>> calls;
    calls.push_back(outcome_of(model.embed(image_named("x"))));
    calls.push_back(outcome_of(model.embed(address_of("x"))));
    calls.push_back(outcome_of(model.embed_text("x")));
    calls.push_back(outcome_of(model.similarity(images_named({"x"}), strings("x", "y"))));
    calls.push_back(outcome_of(model.info()));
    for (auto& one : calls) {
        const outcome seen = co_await std::move(one);
        CHECK(seen.code == pool_errc::shut_down);
    }
}

MODELPOOL_ASYNC_TEST("image pool: images are got from addresses, a few at a time", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    fake_web web;
    runtime rt{ex, web};
    image_pool models{rt, pool_options{}.images(url_limits{}.max_bytes(1234))};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    auto one = model.embed(address_of("cat"), raw_images());
    const embeddings cat = co_await std::move(one);
    CHECK(cat.to_f32(0) == fake_row("cat", 4));
    CHECK(web.max_bytes == 1234);
    std::vector<image_source> mixed;
    for (std::size_t i = 0; i < 30; ++i)
        mixed.push_back(
            i % 3 == 2 ? image_named("image " + std::to_string(i))
                       : address_of("image " + std::to_string(i)));
    mixed.emplace_back(image_url{"data:image/png;base64,b3ds"});
    // No more than eight are got before those got earlier have been computed.
    web.n_gets = 0;
    std::size_t n_held = 0;
    web.on_get = [&] {
        const std::size_t n_computed = stats_of(models).n_succeeded - 1;
        n_held = std::max(n_held, web.n_gets - 8 * n_computed);
    };
    auto many = model.embed(mixed, raw_images().encoding(embedding_dtype::int8));
    const embeddings rows = co_await std::move(many);
    CHECK(web.n_gets == 20);
    CHECK(n_held == 8);
    REQUIRE(rows.size() == 31);
    CHECK(rows.dtype() == embedding_dtype::int8);
    auto held = model.embed(image_named("image 28"), raw_images().encoding(embedding_dtype::int8));
    const embeddings same = co_await std::move(held);
    CHECK(rows.to_f32(28) == same.to_f32(0));
    auto data = model.embed(image_named("owl"), raw_images().encoding(embedding_dtype::int8));
    const embeddings owl = co_await std::move(data);
    CHECK(rows.to_f32(30) == owl.to_f32(0));
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
}

MODELPOOL_ASYNC_TEST("image pool: a failure names the image, in any part of a request", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    fake_web web;
    runtime rt{ex, web};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    for (const std::size_t place : {std::size_t{0}, std::size_t{8}, std::size_t{20}}) {
        for (const char* name : {"missing", "bad image", "bad row"}) {
            std::vector<image_source> images;
            for (std::size_t i = 0; i < 21; ++i)
                images.push_back(address_of(i == place ? name : "fine"));
            auto call = outcome_of(model.embed(std::move(images)));
            const outcome seen = co_await std::move(call);
            INFO(seen.text);
            CHECK_FALSE(seen.ok());
            CHECK(seen.text.find("image " + std::to_string(place) + ": ") == 0);
        }
    }
    auto lone = outcome_of(model.embed(address_of("missing")));
    const outcome seen = co_await std::move(lone);
    CHECK(seen.code == hub_errc::not_found);
    CHECK(seen.text == "404");
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
    runtime offline{ex};
    image_pool others{offline};
    const image_handle other = others.add("m", fake_loader(plan), workers(1, 1));
    auto unreachable = outcome_of(other.embed(address_of("cat")));
    const outcome none = co_await std::move(unreachable);
    CHECK(none.code == hub_errc::no_fetcher);
}

MODELPOOL_ASYNC_TEST("image pool: similarity compares each image with each text", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    fake_web web;
    runtime rt{ex, web};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan));
    std::vector<image_source> images = images_named({"cat", "dog"});
    images.push_back(address_of("owl"));
    auto call = model.similarity(std::move(images), strings("dog", "owl"));
    const image_text_similarity seen = co_await std::move(call);
    REQUIRE(seen.n_images == 3);
    REQUIRE(seen.n_texts == 2);
    REQUIRE(seen.cosines.size() == 6);
    CHECK(seen.cosine(1, 0) == Approx(1));
    CHECK(seen.cosine(2, 1) == Approx(1));
    CHECK(seen.cosine(0, 1) == Approx(cosine(fake_row("cat", 4), fake_row("owl", 4))));
    CHECK(seen.logit_scale == 10.0);
    CHECK(seen.logit(2, 1) == Approx(10));
    CHECK(seen.usage.n_tokens == 6);
    auto bad = outcome_of(model.similarity(images_named({"cat", "bad image"}), strings("x", "y")));
    const outcome named = co_await std::move(bad);
    CHECK(named.text.find("image 1: ") == 0);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
}

MODELPOOL_ASYNC_TEST(
    "image pool: a cancelled caller leaves at once, and the worker stays healthy", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt, pool_options{}.batch_images(1)};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> running{ex, model.embed(image_named("running"))};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<embeddings> queued{ex, model.embed_text("queued")};
    const started<image_text_similarity> comparing{
        ex, model.similarity(images_named({"a"}), strings("b", "c"))};
    const started<embeddings> stubborn{ex, model.embed(image_named("stubborn"))};
    running.cancel(boost::asio::cancellation_type::total);  // too late for this kind
    CHECK_FALSE(running.done());
    queued.cancel(boost::asio::cancellation_type::total);
    comparing.cancel(boost::asio::cancellation_type::total);
    running.cancel(boost::asio::cancellation_type::partial);
    for (const auto* one : {&running, &queued}) {
        auto ending = one->end();
        const outcome seen = co_await std::move(ending);
        CHECK(seen.code == operation_aborted);
    }
    auto comparing_end = comparing.end();
    const outcome compared = co_await std::move(comparing_end);
    CHECK(compared.code == operation_aborted);
    CHECK(plan->run_door.n_waiting() == 1);  // the batch itself goes on
    plan->run_door.open();
    auto last = stubborn.end();
    const outcome seen = co_await std::move(last);
    CHECK(seen.ok());
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    const model_stats all = stats_of(models);
    CHECK(all.n_cancelled == 3);
    CHECK(all.n_spawned == 1);
    CHECK(adds_up(all));
}

/// What a swept call is: one of the operations, of a warm model.
template <class Call>
awaitable<void> sweep_warm(sweep_step step, Call call)
{
    fake_web web;
    runtime rt{co_await boost::asio::this_coro::executor, web};
    image_pool models{rt, pool_options{}.batch_images(2)};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan), workers(1, 2));
    auto first = model.embed(image_named("first"));
    co_await std::move(first);
    auto running = step.cancellable(call(model));
    co_await std::move(running);
    auto after = model.embed(image_named("after"), raw_images());
    const embeddings rows = co_await std::move(after);
    CHECK(rows.to_f32(0) == fake_row("after", 4));
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
    CHECK(plan->n_alive == 0);
}

awaitable<void> embed_scenario(sweep_step step)
{
    return sweep_warm(
        std::move(step), [](image_handle model) { return model.embed(numbered_images(5)); });
}

awaitable<void> address_scenario(sweep_step step)
{
    return sweep_warm(std::move(step), [](image_handle model) {
        std::vector<image_source> images(10, address_of("cat"));
        return model.embed(std::move(images));
    });
}

awaitable<void> text_scenario(sweep_step step)
{
    return sweep_warm(std::move(step), [](image_handle model) {
        return model.embed_text(strings("swept", "text"));
    });
}

awaitable<void> similarity_scenario(sweep_step step)
{
    return sweep_warm(std::move(step), [](image_handle model) {
        return model.similarity(images_named({"cat", "dog"}), strings("swept", "text"));
    });
}

awaitable<void> info_scenario(sweep_step step)
{
    return sweep_warm(std::move(step), [](image_handle model) { return model.info(); });
}

awaitable<void> cold_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_loader(plan));
    auto running = step.cancellable(model.similarity(images_named({"cat"}), strings("a", "b")));
    co_await std::move(running);
    auto after = model.embed_text("after", raw_rows());
    const embeddings rows = co_await std::move(after);
    CHECK(rows.to_f32(0) == fake_row("after", 4));
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_of(models)));
}

TEST_CASE("image pool: embed cancelled at every point", "[pool]")
{
    sweep_cancellation(&embed_scenario);
}

TEST_CASE("image pool: embed of addresses cancelled at every point", "[pool]")
{
    sweep_cancellation(&address_scenario);
}

TEST_CASE("image pool: embed_text cancelled at every point", "[pool]")
{
    sweep_cancellation(&text_scenario);
}

TEST_CASE("image pool: similarity cancelled at every point, warm and cold", "[pool]")
{
    sweep_cancellation(&similarity_scenario);
    sweep_cancellation(&cold_scenario);
}

TEST_CASE("image pool: info cancelled at every point", "[pool]")
{
    sweep_cancellation(&info_scenario);
}

}  // namespace
}  // namespace modelpool
