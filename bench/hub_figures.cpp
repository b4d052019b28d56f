#include "hub_figures.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "hub/digest.hpp"

#include <unistd.h>

namespace modelpool::bench {
namespace {

namespace fs = std::filesystem;
using stopwatch = std::chrono::steady_clock;

std::string noise(std::size_t n_bytes, std::uint64_t seed)
{
    std::mt19937_64 dice{seed};
    std::string bytes(n_bytes, '\0');
    for (std::size_t i = 0; i + sizeof(std::uint64_t) <= n_bytes; i += sizeof(std::uint64_t)) {
        const std::uint64_t value = dice();
        std::memcpy(bytes.data() + i, &value, sizeof value);
    }
    return bytes;
}

std::vector<served_file> files_of(std::size_t n_files, std::size_t file_bytes, bool large)
{
    std::vector<served_file> all;
    for (std::size_t i = 0; i < n_files; ++i)
        all.push_back(
            {"d" + std::to_string(i % 16) + "/" + std::to_string(i), noise(file_bytes, i), large});
    return all;
}

fs::path fresh_dir()
{
    std::error_code none;
    const fs::path memory = "/dev/shm";
    const bool has_memory = fs::is_directory(memory, none) && ::access(memory.c_str(), W_OK) == 0;
    std::string pattern =
        ((has_memory ? memory : fs::temp_directory_path()) / "modelpool-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
        throw std::system_error{errno, std::generic_category(), "mkdtemp " + pattern};
    return pattern;
}

void blocking_run(awaitable<snapshot> operation)
{
    boost::asio::io_context io{1};
    std::exception_ptr problem;
    boost::asio::co_spawn(
        io, std::move(operation), [&](std::exception_ptr failed, const snapshot&) {
            problem = std::move(failed);
        });
    io.run();
    if (problem) std::rethrow_exception(problem);
}

}  // namespace

hub_stand::hub_stand(std::size_t n_files, std::size_t file_bytes, bool large)
    : n_bytes_{n_files * file_bytes}
    , dir_{fresh_dir()}
    , server_{files_of(n_files, file_bytes, large)}
{}

hub_stand::~hub_stand()
{
    std::error_code ignored;  // a folder left behind changes no figure
    fs::remove_all(dir_, ignored);
}

hub_options hub_stand::options() const
{
    hub_options made;
    made.cache_dir(dir_ / "cache").endpoint(server_.url()).sync(false);
    return made;
}

std::chrono::nanoseconds hub_stand::blocking_fetch(verification how)
{
    fs::remove_all(dir_ / "cache");
    hub files{options().verify(how)};
    const auto begun = stopwatch::now();
    blocking_run(files.fetch("org/model"));
    return stopwatch::now() - begun;
}

std::chrono::nanoseconds hub_stand::blocking_hits(std::size_t n, bool by_commit)
{
    hub files{options()};
    const std::string name =
        by_commit ? std::string{"org/model@"} + loopback_hub::commit : std::string{"org/model"};
    blocking_run(files.fetch(name));
    const auto begun = stopwatch::now();
    for (std::size_t i = 0; i < n; ++i)
        blocking_run(files.fetch(name));
    return stopwatch::now() - begun;
}

std::chrono::nanoseconds hub_stand::blocking_hash() const
{
    constexpr std::size_t block_bytes = std::size_t{256} << 10U;
    const std::string block = noise(block_bytes, 0);
    fetching::digest hash = fetching::digest::sha256();
    const auto begun = stopwatch::now();
    for (std::size_t done = 0; done < n_bytes_; done += block_bytes)
        hash.update({block.data(), std::min(block_bytes, n_bytes_ - done)});
    hash.finish();
    return stopwatch::now() - begun;
}

}  // namespace modelpool::bench
