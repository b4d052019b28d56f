#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/util/Exception.h>
#include <catch2/catch.hpp>

#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/failure.hpp"
#include "torch/errors.hpp"
#include "torch/layers.hpp"
#include "torch/scratch.hpp"
#include "torch/threads.hpp"

namespace modelpool {

using testing::failure;

TEST_CASE("threads: a thread's share is its own", "[torch]")
{
    int before = 0;
    int own = 0;
    int after = 0;
    nn::use_threads(2);
    std::thread other{[&] {
        before = at::get_num_threads();
        nn::use_threads(3);
        own = at::get_num_threads();
    }};
    other.join();
    CHECK(own == 3);
    CHECK(at::get_num_threads() == 2);
    std::thread{[&] { after = at::get_num_threads(); }}.join();
    CHECK(after == before);
    nn::use_threads(0);
    CHECK(at::get_num_threads() == 1);
}

TEST_CASE("torch errors: they become the library's own, with their first line", "[torch]")
{
    const std::string text = failure(model_errc::failed, [] {
        nn::translated("adding", [] { at::randn({2}).add(at::randn({3})); });
    });
    CHECK(text.starts_with("adding: The size of tensor a"));
    CHECK(text.find('\n') == std::string::npos);
    failure(model_errc::failed, [] {
        nn::translated("failing", [] { throw std::runtime_error{"below"}; });
    });
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MODELPOOL_SANITIZED_TEST
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MODELPOOL_SANITIZED_TEST
#endif
#endif

#if !defined(MODELPOOL_SANITIZED_TEST)
// The sanitizers end the program where an allocator would say no.
TEST_CASE("torch errors: a failed allocation is out_of_memory", "[torch]")
{
    failure(model_errc::out_of_memory, [] {
        nn::translated("growing", [] { at::empty({std::int64_t{1} << 60}); });
    });
}
#endif

TEST_CASE("torch errors: the library's own and bad_alloc pass through", "[torch]")
{
    CHECK(failure(model_errc::bad_file, [] {
              nn::translated("reading", [] { throw error{model_errc::bad_file, "as is"}; });
          }) == "as is");
    CHECK_THROWS_AS(nn::translated("growing", [] { throw std::bad_alloc{}; }), std::bad_alloc);
    CHECK(nn::translated("counting", [] { return 7; }) == 7);
}

TEST_CASE("scratch: rows keep their memory until more are asked for", "[torch]")
{
    nn::row_buffer buffer{3, c10::ScalarType::Float};
    const void* first = buffer.rows(4).const_data_ptr();
    CHECK(buffer.rows(2).const_data_ptr() == first);
    CHECK(buffer.rows(4).sizes() == at::IntArrayRef({4, 3}));
    CHECK(buffer.rows(9).size(0) == 9);
    CHECK(buffer.rows(4).is_contiguous());
}

TEST_CASE("attention: each text attends to itself alone", "[torch]")
{
    constexpr std::int64_t n_heads = 2;
    constexpr std::int64_t hidden = 6;
    const at::Tensor qkv = at::randn({8, 3 * hidden});
    const std::vector<nn::text_group> groups{{0, 2, 1}, {2, 2, 3}};
    at::Tensor out = at::empty({8, hidden});
    nn::attend_within_texts(qkv, groups, n_heads, out);
    const std::vector<std::pair<std::int64_t, std::int64_t>> texts{{0, 1}, {1, 1}, {2, 3}, {5, 3}};
    for (const auto& [first, length] : texts) {
        const at::Tensor own =
            qkv.narrow(0, first, length).view({1, length, 3, n_heads, hidden / n_heads});
        const at::Tensor expected = at::scaled_dot_product_attention(
            own.select(2, 0).transpose(1, 2),
            own.select(2, 1).transpose(1, 2),
            own.select(2, 2).transpose(1, 2));
        const at::Tensor flat = expected.transpose(1, 2).reshape({length, hidden});
        CHECK(at::allclose(out.narrow(0, first, length), flat, 1e-5, 1e-6));
    }
}

TEST_CASE("activations: names are transformers'", "[torch]")
{
    CHECK(nn::parse_activation("gelu") == nn::activation::gelu);
    CHECK(nn::parse_activation("gelu_new") == nn::activation::gelu_tanh);
    CHECK(nn::parse_activation("swish") == nn::activation::silu);
    CHECK(!nn::parse_activation("gelu_10"));
    CHECK(!nn::parse_activation(""));
}

}  // namespace modelpool
