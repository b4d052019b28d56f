// How requests for rows become batches, and how rows find back.

#include <modelpool/capability/model.hpp>
#include <modelpool/pool/detail/batch_lane.hpp>
#include <modelpool/pool/detail/group.hpp>
#include <modelpool/pool/detail/rows_job.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/async_test.hpp"

namespace modelpool {
namespace {

using namespace testing;
using detail::intake;
using detail::step_report;

using rows_type = std::vector<item_result<std::vector<float>>>;

class toy_options {
public:
    toy_options& normalize(bool value)
    {
        normalize_ = value;
        return *this;
    }
    bool normalize() const noexcept { return normalize_; }
    embedding_dtype encoding() const noexcept { return embedding_dtype::f32; }
    toy_options& suits(bool value)
    {
        suits_ = value;
        return *this;
    }
    bool suits() const noexcept { return suits_; }

private:
    bool normalize_{false};
    bool suits_{true};
};

struct toy_plan {
    std::size_t dim{0};
};

/// A toy costs as much as its name is long, and ten more than expected for each `!`.
struct toy_prepared {
    std::string name;
    std::size_t n_cost{0};
};

struct toy_rows {
    using input = std::shared_ptr<std::string>;
    using options = toy_options;
    using plan = toy_plan;
    using prepared = toy_prepared;
    static constexpr const char* item = "toy";

    static std::size_t expected_cost(const input& one) { return one->size(); }
    static std::size_t cost(const prepared& one) { return one.n_cost; }
    static embedding_usage usage(const prepared& one)
    {
        return {one.n_cost, one.n_cost > one.name.size() ? std::size_t{1} : std::size_t{0}};
    }
};

/// Computes [length, first letter, 7] of a name; the plan asks for the first two.
struct toy_model {
    std::vector<std::vector<std::string>> batches;
    std::vector<std::string> prepared;
    std::function<void(rows_type&)> on_run;
    std::size_t n_plans{0};
};

struct toy_tower {
    toy_model* model;

    toy_plan plan(const toy_options& wanted) const
    {
        ++model->n_plans;
        if (!wanted.suits()) throw error{errc::invalid_argument, "the toy does not suit"};
        return toy_plan{2};
    }
    toy_prepared
    prepare(const toy_plan&, const toy_options&, const std::shared_ptr<std::string>& one) const
    {
        model->prepared.push_back(*one);
        if (*one == "broken") throw error{text_errc::not_utf8, "it is broken"};
        if (*one == "huge") throw std::bad_alloc{};
        if (*one == "strange") throw std::logic_error{"a stranger"};
        toy_prepared made;
        made.name = *one;
        made.n_cost = one->size();
        for (const char c : *one)
            made.n_cost += c == '!' ? 10 : 0;
        return made;
    }
    rows_type run(std::span<const toy_prepared> batch, run_context&) const
    {
        rows_type rows;
        std::vector<std::string> names;
        for (const toy_prepared& one : batch) {
            names.push_back(one.name);
            rows.emplace_back(std::vector<float>{
                static_cast<float>(one.name.size()), static_cast<float>(one.name[0]), 7.0F});
        }
        model->batches.push_back(std::move(names));
        if (model->on_run) model->on_run(rows);
        return rows;
    }
};

using toy_lane = detail::batch_lane<toy_rows>;

/// A request whose caller waits, and whose worker is the test.
class toy_job final : public detail::rows_job<toy_rows> {
public:
    using rows_job::rows_job;
    void start(const std::shared_ptr<toy_job>&) {}
};

std::vector<std::shared_ptr<std::string>> toys(std::initializer_list<const char*> names)
{
    std::vector<std::shared_ptr<std::string>> made;
    for (const char* name : names)
        made.push_back(std::make_shared<std::string>(name));
    return made;
}

std::shared_ptr<toy_job>
new_job(std::vector<std::shared_ptr<std::string>> inputs, toy_options options = {})
{
    return std::make_shared<toy_job>(
        std::weak_ptr<detail::group>{}, std::move(inputs), options, request_options{});
}

started<embeddings> wait_for(const executor& ex, const std::shared_ptr<toy_job>& one)
{
    return started<embeddings>{ex, detail::await_reply<embeddings>(one)};
}

/// Takes from jobs in turn, as a queue that rotates offers them, until the lane has enough or they
/// have no more.
std::size_t take_all(toy_lane& lane, std::vector<std::shared_ptr<toy_job>> queue)
{
    std::size_t n_taken = 0;
    while (!queue.empty()) {
        const intake got = lane.take(queue.front());
        if (got == intake::full) break;
        ++n_taken;
        if (got == intake::part) queue.push_back(queue.front());
        queue.erase(queue.begin());
    }
    return n_taken;
}

/// Steps until nothing is left, and answers what is done.
step_report run_all(toy_lane& lane, toy_model& model)
{
    step_report all;
    run_context context;
    while (lane.busy()) {
        step_report report;
        lane.step(toy_tower{&model}, context, report);
        all.n_items += report.n_items;
        all.n_tokens += report.n_tokens;
        if (report.failure) all.failure = report.failure;
        for (const auto& one : report.failed)
            one.request->fail(one.why);
        for (const auto& one : report.done) {
            one->deliver();
            all.done.push_back(one);
        }
    }
    return all;
}

MODELPOOL_ASYNC_TEST("batch_lane: requests have their turns, and batches their limit", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    toy_lane lane{8};
    toy_model model;
    const auto large = new_job(toys({"aa", "bb", "cc", "dd", "ee", "ff"}));
    const auto small = new_job(toys({"xx"}));
    const auto large_call = wait_for(ex, large);
    const auto small_call = wait_for(ex, small);
    // A turn is a quarter of the limit: one of these at a time.
    CHECK(lane.take(large) == intake::part);
    CHECK(large->next == 1);
    CHECK(lane.take(small) == intake::all);
    CHECK(lane.take(large) == intake::part);
    CHECK(lane.take(large) == intake::part);
    CHECK(lane.take(large) == intake::full);
    CHECK(large->next == 3);
    run_all(lane, model);
    CHECK(take_all(lane, {large}) == 3);
    run_all(lane, model);
    REQUIRE(model.batches.size() == 2);
    CHECK(model.batches[0] == std::vector<std::string>{"aa", "xx", "bb", "cc"});
    CHECK(model.batches[1] == std::vector<std::string>{"dd", "ee", "ff"});
    auto large_end = large_call.get();
    const embeddings rows = co_await std::move(large_end);
    REQUIRE(rows.size() == 6);
    CHECK(rows.dim() == 2);
    CHECK(rows.to_f32(5) == std::vector<float>{2.0F, static_cast<float>('f')});
    CHECK(rows.usage().n_tokens == 12);
    auto small_end = small_call.get();
    const embeddings row = co_await std::move(small_end);
    CHECK(row.to_f32(0) == std::vector<float>{2.0F, static_cast<float>('x')});
}

MODELPOOL_ASYNC_TEST("batch_lane: an input above the limit goes alone", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    toy_model model;
    for (const std::size_t limit : {std::size_t{0}, std::size_t{1}, std::size_t{6}}) {
        toy_lane lane{limit};
        const auto one = new_job(toys({"a", "a long one", "b"}));
        const auto call = wait_for(ex, one);
        while (one->next < one->n_inputs()) {
            REQUIRE(take_all(lane, {one}) > 0);
            run_all(lane, model);
        }
        REQUIRE(model.batches.size() == 3);
        CHECK(model.batches[1] == std::vector<std::string>{"a long one"});
        model.batches.clear();
        auto end = call.get();
        const embeddings rows = co_await std::move(end);
        CHECK(rows.to_f32(1)[0] == Approx(10));
    }
}

MODELPOOL_ASYNC_TEST(
    "batch_lane: a batch is cut by the cost that inputs turn out to have", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    toy_lane lane{24};
    toy_model model;
    const auto one = new_job(toys({"a!", "b!", "c", "d!"}));
    const auto call = wait_for(ex, one);
    REQUIRE(take_all(lane, {one}) == 1);
    run_context context;
    step_report report;
    lane.step(toy_tower{&model}, context, report);
    CHECK(model.batches[0] == std::vector<std::string>{"a!", "b!"});  // 12 and 12
    CHECK(report.n_items == 2);
    CHECK(report.n_tokens == 24);
    // What is prepared and not computed counts against what may be taken: 13 of 24.
    const auto more = new_job(toys({"eeeee", "fffff", "ggggg", "hhhhh", "iiiii"}));
    const auto more_call = wait_for(ex, more);
    CHECK(take_all(lane, {more}) == 2);
    CHECK(more->next == 4);
    run_all(lane, model);
    CHECK(take_all(lane, {more}) == 1);
    run_all(lane, model);
    auto end = call.get();
    const embeddings rows = co_await std::move(end);
    CHECK(rows.usage().n_truncated == 3);
    auto more_end = more_call.get();
    co_await std::move(more_end);
}

MODELPOOL_ASYNC_TEST(
    "batch_lane: what cannot be prepared fails its own request, and names the input", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    toy_lane lane{100};
    toy_model model;
    const auto good = new_job(toys({"fine"}));
    const auto broken = new_job(toys({"fine", "broken", "late"}));
    const auto lone = new_job(toys({"broken"}));
    const auto huge = new_job(toys({"a", "huge"}));
    const auto strange = new_job(toys({"a", "strange"}));
    const auto part = new_job(toys({"broken"}));
    part->set_part(40, 50);
    const auto unsuited = new_job(toys({"a", "b"}), toy_options{}.suits(false));
    std::vector<started<embeddings>> calls;
    for (const auto& one : {good, broken, lone, huge, strange, part, unsuited}) {
        calls.push_back(wait_for(ex, one));
        CHECK(lane.take(one) == intake::all);
    }
    const step_report report = run_all(lane, model);
    CHECK_FALSE(report.failure);  // the model itself is well
    CHECK(report.done.size() == 1);
    CHECK(std::count(model.prepared.begin(), model.prepared.end(), "late") == 0);
    std::vector<outcome> ends;
    for (std::size_t i = 0; i + 3 < calls.size(); ++i) {
        auto end = calls[i].end();
        const outcome seen = co_await std::move(end);
        ends.push_back(seen);
    }
    CHECK(ends[0].ok());
    CHECK(ends[1].code == text_errc::not_utf8);
    CHECK(ends[1].text == "toy 1: it is broken");
    CHECK(ends[2].text == "it is broken");
    CHECK(ends[3].code == model_errc::out_of_memory);
    CHECK(ends[3].text.find("toy 1: ") == 0);
    bool untouched = false;
    auto strange_end = calls[4].get();
    try {
        co_await std::move(strange_end);
    } catch (const std::logic_error& problem) {
        untouched = std::string{problem.what()} == "a stranger";
    }
    CHECK(untouched);
    auto part_end = calls[5].end();
    const outcome part_seen = co_await std::move(part_end);
    CHECK(part_seen.text == "toy 40: it is broken");
    auto unsuited_end = calls[6].end();
    const outcome unsuited_seen = co_await std::move(unsuited_end);
    CHECK(unsuited_seen.code == errc::invalid_argument);
    CHECK(unsuited_seen.text == "the toy does not suit");
}

MODELPOOL_ASYNC_TEST("batch_lane: rows that are none fail their own request", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    toy_lane lane{100};
    toy_model model;
    std::vector<std::shared_ptr<toy_job>> jobs;
    std::vector<started<embeddings>> calls;
    for (int i = 0; i < 4; ++i) {
        jobs.push_back(new_job(toys({"a", "b"})));
        calls.push_back(wait_for(ex, jobs.back()));
        CHECK(lane.take(jobs.back()) == intake::all);
    }
    model.on_run = [](rows_type& rows) {
        rows[0] = std::make_exception_ptr(error{model_errc::failed, "no row"});
        rows[3].value()[1] = std::numeric_limits<float>::quiet_NaN();
        rows[4].value().resize(1);
    };
    const step_report report = run_all(lane, model);
    CHECK_FALSE(report.failure);
    CHECK(report.n_items == 8);
    const std::vector<std::string> expected{
        "toy 0: no row",
        "toy 1: the model gave numbers that are not finite",
        "toy 0: the model gave 1 numbers, expected 2",
        ""};
    for (std::size_t i = 0; i < calls.size(); ++i) {
        auto end = calls[i].end();
        const outcome seen = co_await std::move(end);
        CHECK(seen.text == expected[i]);
        CHECK((seen.ok() || seen.code == model_errc::failed));
    }
}

MODELPOOL_ASYNC_TEST("batch_lane: a batch that fails reaches all of it, and is reported", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const std::vector<std::function<void(rows_type&)>> failures{
        [](rows_type&) {
            throw error{model_errc::device_lost, "gone"};
        },
        [](rows_type&) { throw std::bad_alloc{}; },
        [](rows_type& rows) { rows.pop_back(); }};
    const std::vector<model_errc> codes{
        model_errc::device_lost, model_errc::out_of_memory, model_errc::failed};
    for (std::size_t i = 0; i < failures.size(); ++i) {
        toy_lane lane{4};
        toy_model model;
        model.on_run = failures[i];
        const auto first = new_job(toys({"a"}));
        const auto second = new_job(toys({"b"}));
        const auto first_call = wait_for(ex, first);
        const auto second_call = wait_for(ex, second);
        take_all(lane, {first, second});
        const step_report report = run_all(lane, model);
        CHECK(report.failure);
        CHECK(report.done.empty());
        for (const auto* call : {&first_call, &second_call}) {
            auto end = call->end();
            const outcome seen = co_await std::move(end);
            CHECK(seen.code == codes[i]);
        }
        model.on_run = nullptr;
        const auto next = new_job(toys({"c"}));
        const auto next_call = wait_for(ex, next);
        take_all(lane, {next});
        run_all(lane, model);
        auto end = next_call.end();
        const outcome seen = co_await std::move(end);
        CHECK(seen.ok());
    }
}

MODELPOOL_ASYNC_TEST("batch_lane: nothing is computed for a caller who left", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    toy_lane lane{4};
    toy_model model;
    const auto gone = new_job(toys({"a", "b", "c"}));
    const auto gone_call = wait_for(ex, gone);
    const auto left = new_job(toys({"x", "y"}));
    const auto left_call = wait_for(ex, left);
    take_all(lane, {gone, left});
    gone_call.cancel();
    run_all(lane, model);
    auto gone_end = gone_call.end();
    const outcome seen = co_await std::move(gone_end);
    CHECK(seen.code == boost::asio::error::operation_aborted);
    CHECK(std::count(model.prepared.begin(), model.prepared.end(), "a") == 0);
    take_all(lane, {left});
    run_all(lane, model);
    auto left_end = left_call.end();
    const outcome left_seen = co_await std::move(left_end);
    CHECK(left_seen.ok());
    // One that leaves between preparing and computing takes no place in a batch.
    toy_lane wide{40};
    const auto leaving = new_job(toys({"p!!!", "q!!!", "r!!!"}));
    const auto leaving_call = wait_for(ex, leaving);
    CHECK(wide.take(leaving) == intake::all);
    run_context context;
    step_report report;
    wide.step(toy_tower{&model}, context, report);
    REQUIRE(model.batches.back() == std::vector<std::string>{"p!!!"});
    leaving_call.cancel();
    const auto staying = new_job(toys({"s"}));
    const auto staying_call = wait_for(ex, staying);
    run_all(wide, model);
    take_all(wide, {staying});
    run_all(wide, model);
    CHECK(model.batches.back() == std::vector<std::string>{"s"});
    CHECK(model.batches[model.batches.size() - 2] == std::vector<std::string>{"p!!!"});
    auto staying_end = staying_call.end();
    co_await std::move(staying_end);
    auto leaving_end = leaving_call.end();
    co_await std::move(leaving_end);
}

MODELPOOL_ASYNC_TEST(
    "batch_lane: once asked to stop it leaves all to be dropped, whatever the model gave", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    for (const bool throws : {false, true}) {
        toy_lane lane{4};
        toy_model model;
        stop_source stopping;
        model.on_run = [&](rows_type& rows) {
            stopping.request_stop();
            if (throws) throw error{model_errc::failed, "stopped"};
            rows.clear();
        };
        class quiet_monitor final : public run_monitor {
        public:
            int n_threads() const noexcept override { return 1; }
            void step_done() noexcept override { ++n_steps; }
            std::size_t n_steps{0};
        };
        quiet_monitor monitor;
        run_context context{monitor, stopping.flag()};
        const auto running = new_job(toys({"aaaa"}));
        const auto ready = new_job(toys({"bbbb"}));
        const auto taken = new_job(toys({"cccc"}));
        std::vector<started<embeddings>> calls;
        for (const auto& one : {running, ready, taken})
            calls.push_back(wait_for(ex, one));
        take_all(lane, {running});
        step_report report;
        lane.step(toy_tower{&model}, context, report);
        CHECK(monitor.n_steps == 1);  // preparing counts as advancing
        CHECK_FALSE(report.failure);
        CHECK(report.done.empty());
        CHECK(report.n_items == 0);
        CHECK(lane.busy());
        take_all(lane, {ready, taken});
        lane.step(toy_tower{&model}, context, report);
        CHECK(model.prepared.size() == 1);
        CHECK(model.batches.size() == 1);
        lane.drop(std::make_exception_ptr(error{pool_errc::shut_down}));
        CHECK_FALSE(lane.busy());
        for (std::size_t i = 0; i < 2; ++i) {
            auto end = calls[i].end();
            const outcome seen = co_await std::move(end);
            CHECK(seen.code == pool_errc::shut_down);
        }
        taken->fail(std::make_exception_ptr(error{pool_errc::shut_down}));  // still in the queue
        auto end = calls[2].end();
        co_await std::move(end);
    }
}

MODELPOOL_ASYNC_TEST(
    "rows_job: two workers share a request, which is planned once and freed as it goes", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    toy_lane here{8};
    toy_lane there{8};
    toy_model model;
    auto inputs = toys({"aa", "bb", "cc"});
    const std::weak_ptr<std::string> first = inputs[0];
    const std::weak_ptr<std::string> last = inputs[2];
    const auto one = new_job(std::move(inputs), toy_options{}.normalize(true));
    const auto call = wait_for(ex, one);
    CHECK(here.take(one) == intake::part);
    CHECK(there.take(one) == intake::part);
    run_all(there, model);
    CHECK_FALSE(call.done());
    run_all(here, model);
    CHECK(first.expired());
    CHECK_FALSE(last.expired());
    CHECK(there.take(one) == intake::all);
    const step_report report = run_all(there, model);
    CHECK(report.done.size() == 1);
    CHECK(last.expired());
    CHECK(model.n_plans == 1);
    auto end = call.get();
    const embeddings rows = co_await std::move(end);
    CHECK(rows.normalized());
    CHECK(rows.usage().n_tokens == 6);
    for (std::size_t i = 0; i < 3; ++i) {
        const std::vector<float> row = rows.to_f32(i);
        CHECK(std::hypot(row[0], row[1]) == Approx(1));
        CHECK(row[1] / row[0] == Approx((static_cast<double>('a') + static_cast<double>(i)) / 2));
    }
}

TEST_CASE("rows_job: the smallest and the largest rows get unit length too", "[pool]")
{
    for (const float size : {1e-38F, 1e-30F, 1.0F, 1e30F, 3e38F}) {
        std::vector<float> row{size, -size};
        detail::normalize(row);
        CHECK(row[0] == Approx(std::sqrt(0.5)));
        CHECK(row[1] == Approx(-std::sqrt(0.5)));
    }
    std::vector<float> nothing{0.0F, 0.0F};
    detail::normalize(nothing);
    CHECK(nothing == std::vector<float>{0.0F, 0.0F});
}

}  // namespace
}  // namespace modelpool
