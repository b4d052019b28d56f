#include <modelpool/device.hpp>
#include <modelpool/error.hpp>

#include <boost/asio/error.hpp>

#include <catch2/catch.hpp>

#include <set>
#include <string>
#include <vector>

#include "support/failure.hpp"

namespace modelpool {
namespace {

using boost::system::error_code;
using testing::failure;

std::vector<error_code> codes_of(const boost::system::error_category& category, int n)
{
    std::vector<error_code> all;
    for (int value = 1; value <= n; ++value)
        all.emplace_back(value, category);
    return all;
}

std::vector<error_code> all_codes()
{
    std::vector<error_code> all;
    const auto append = [&](const boost::system::error_category& category, int n) {
        for (const error_code& code : codes_of(category, n))
            all.push_back(code);
    };
    append(general_category(), static_cast<int>(errc::closed));
    append(pool_category(), static_cast<int>(pool_errc::worker_lost));
    append(registry_category(), static_cast<int>(registry_errc::no_pool));
    append(hub_category(), static_cast<int>(hub_errc::no_fetcher));
    append(model_category(), static_cast<int>(model_errc::context_overflow));
    append(text_category(), static_cast<int>(text_errc::bad_id));
    return all;
}

TEST_CASE("error: the first value of every enum is 1, so that none tests as success", "[error]")
{
    CHECK(static_cast<int>(errc::timed_out) == 1);
    CHECK(static_cast<int>(pool_errc::queue_full) == 1);
    CHECK(static_cast<int>(registry_errc::unknown_key) == 1);
    CHECK(static_cast<int>(hub_errc::not_found) == 1);
    CHECK(static_cast<int>(model_errc::failed) == 1);
    CHECK(static_cast<int>(text_errc::not_utf8) == 1);
    for (const error_code& code : all_codes())
        CHECK(code.failed());
}

TEST_CASE("error: every code has a message of its own, and every category a name", "[error]")
{
    std::set<std::string> names;
    std::set<std::string> texts;
    for (const error_code& code : all_codes()) {
        INFO(code.category().name() << " " << code.value());
        CHECK_FALSE(code.message().empty());
        CHECK(code.message() != "unknown error");
        CHECK(texts.insert(code.category().name() + code.message()).second);
        names.insert(code.category().name());
    }
    CHECK(names.size() == 6);
}

TEST_CASE("error: a value outside an enum is an unknown error", "[error]")
{
    for (const int value : {0, -1, 1000, 2147483647})
        CHECK(pool_category().message(value) == "unknown error");
    CHECK(
        error_code(static_cast<int>(errc::closed) + 1, general_category()).message() ==
        "unknown error");
}

TEST_CASE("error: enums convert to codes of their categories", "[error]")
{
    CHECK(error_code{errc::closed}.category() == general_category());
    CHECK(error_code{pool_errc::queue_full}.category() == pool_category());
    CHECK(error_code{registry_errc::no_pool}.category() == registry_category());
    CHECK(error_code{hub_errc::denied}.category() == hub_category());
    CHECK(error_code{model_errc::bad_file}.category() == model_category());
    CHECK(error_code{text_errc::bad_id}.category() == text_category());
    CHECK(error_code{pool_errc::queue_full} != error_code{errc::timed_out});
}

TEST_CASE("error: an error carries its code and its sentence", "[error]")
{
    const error plain{pool_errc::queue_full};
    CHECK(plain.code() == pool_errc::queue_full);
    CHECK(plain.what() == error_code{pool_errc::queue_full}.message());
    const error worded{model_errc::bad_file, "a.json: line 3 has no colon"};
    CHECK(std::string{worded.what()} == "a.json: line 3 has no colon");
    const boost::system::system_error& base = worded;
    CHECK(std::string{base.what()} == worded.what());
}

TEST_CASE("error: a context goes before the text and keeps the code", "[error]")
{
    const error inner{text_errc::too_long, "600 tokens, at most 512"};
    const error outer = inner.in("text 3").in("model 'a'");
    CHECK(outer.code() == text_errc::too_long);
    CHECK(std::string{outer.what()} == "model 'a': text 3: 600 tokens, at most 512");
    CHECK(std::string{inner.what()} == "600 tokens, at most 512");
}

TEST_CASE("error: what may succeed later is retryable, what never will is bad input", "[error]")
{
    const std::set<error_code> retryable{
        errc::timed_out,
        pool_errc::queue_full,
        pool_errc::memory_exhausted,
        pool_errc::circuit_open,
        pool_errc::deadline_missed,
        pool_errc::worker_lost,
        hub_errc::unavailable,
        model_errc::out_of_memory};
    const std::set<error_code> neither{
        errc::closed,
        pool_errc::shut_down,
        pool_errc::duplicate_model,
        pool_errc::load_failed,
        hub_errc::denied,
        hub_errc::corrupt,
        hub_errc::io_failed,
        hub_errc::no_fetcher,
        model_errc::failed,
        model_errc::device_lost};
    for (const error_code& code : all_codes()) {
        INFO(code.category().name() << ": " << code.message());
        const bool later = retryable.contains(code);
        CHECK((code == condition::retryable) == later);
        CHECK((code == condition::bad_input) == (!later && !neither.contains(code)));
    }
    CHECK(error_code{boost::asio::error::operation_aborted} != condition::retryable);
}

TEST_CASE("error: codes compare with conditions of other categories as usual", "[error]")
{
    const error_code code = pool_errc::queue_full;
    CHECK(code == code.default_error_condition());
    CHECK(code != boost::system::errc::make_error_condition(boost::system::errc::timed_out));
    CHECK(make_error_condition(condition::retryable).message() != "");
    CHECK(
        make_error_condition(condition::retryable).message() !=
        make_error_condition(condition::bad_input).message());
}

TEST_CASE("device: texts and devices stand for each other", "[device]")
{
    CHECK(device{}.is_cpu());
    CHECK(device::parse("cpu") == device{});
    CHECK(device::parse("cuda") == device::cuda(0));
    CHECK(device::parse("cuda:0") == device::cuda(0));
    CHECK(device::parse("cuda:12") == device::cuda(12));
    CHECK(device::cuda(12).str() == "cuda:12");
    CHECK(device{}.str() == "cpu");
    CHECK(device{}.index() == -1);
    CHECK(device::cuda(3).is_cuda());
    CHECK_FALSE(device::cuda(3).is_cpu());
}

TEST_CASE("device: a text that names none is refused with the text in the message", "[device]")
{
    for (const char* text :
         {"",
          "gpu",
          "CPU",
          "cpu:0",
          "cuda:",
          "cuda:x",
          "cuda:1x",
          "cuda:-1",
          "cuda: 1",
          "cuda:1024",
          "cuda:99999999999999999999",
          "cuda:+1"}) {
        const std::string said = failure(errc::invalid_argument, [&] { device::parse(text); });
        CHECK(said.find("'" + std::string{text} + "'") != std::string::npos);
    }
}

TEST_CASE("device: names of data types read back", "[device]")
{
    for (const dtype value :
         {dtype::automatic,
          dtype::f32,
          dtype::bf16,
          dtype::f16,
          dtype::int8,
          dtype::q8_0,
          dtype::q4_k})
        CHECK(parse_dtype(to_string(value)) == value);
    CHECK(parse_dtype("automatic") == dtype::automatic);
    for (const char* text : {"", "F32", "f64", "float", "q4_0"}) {
        const std::string said = failure(errc::invalid_argument, [&] { parse_dtype(text); });
        CHECK(said.find("expected auto, f32") != std::string::npos);
    }
}

}  // namespace
}  // namespace modelpool
