#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
// The sanitizer sees neither the reference counts of std::exception_ptr, which live in the standard
// library's own binary, nor the fences that Asio's executors count their references with.
extern "C" const char* __tsan_default_options()
{
    return "ignore_noninstrumented_modules=1";
}

extern "C" const char* __tsan_default_suppressions()
{
    return "race:boost::asio::execution::detail::shared_target_executor\n";
}
#endif
#endif
