#include <modelpool/hub/directory_fetcher.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <catch2/catch.hpp>

#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/cancel_sweep.hpp"
#include "support/failure.hpp"
#include "support/temp_dir.hpp"

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using testing::failure;
using testing::temp_dir;
using names = std::vector<std::string>;

// Runs the operation on a loop of its own until nothing is left to do; throws what it throws.
template <class T>
T run(awaitable<T> operation)
{
    boost::asio::io_context io;
    std::exception_ptr problem;
    std::optional<T> result;
    boost::asio::co_spawn(io, std::move(operation), [&](std::exception_ptr failed, T value) {
        problem = std::move(failed);
        result = std::move(value);
    });
    io.run();
    if (problem) std::rethrow_exception(problem);
    return std::move(*result);
}

// A root with the repository "org/model".
temp_dir& filled(temp_dir& dir)
{
    dir.write("org/model/config.json", "{}");
    dir.write("org/model/model.safetensors", "12345678");
    dir.write("org/model/1_Pooling/config.json", "{\"a\":1}");
    return dir;
}

}  // namespace

TEST_CASE("directory_fetcher: all files of a repository are found below the root")
{
    temp_dir dir;
    directory_fetcher hub{filled(dir).path()};
    const snapshot found = run(hub.fetch("org/model@v2"));
    CHECK(found.repo() == "org/model");
    CHECK(found.commit().empty());
    CHECK(found.dir() == dir / "org/model");
    CHECK(found.files() == names{"1_Pooling/config.json", "config.json", "model.safetensors"});
}

TEST_CASE("directory_fetcher: only selected files are given")
{
    temp_dir dir;
    directory_fetcher hub{filled(dir).path()};
    const snapshot json = run(hub.fetch("org/model", file_selection{}.include("*.json")));
    CHECK(json.files() == names{"1_Pooling/config.json", "config.json"});
    const snapshot rest = run(hub.fetch("org/model", file_selection{}.exclude("*/*")));
    CHECK(rest.files() == names{"config.json", "model.safetensors"});
    CHECK_THAT(
        failure(
            hub_errc::not_found,
            [&] { run(hub.fetch("org/model", file_selection{}.include("*.gguf"))); }),
        Contains("no file in " + (dir / "org/model").string() + " is selected"));
}

TEST_CASE("directory_fetcher: added folders come first, then org/name, then name")
{
    const temp_dir dir;
    directory_fetcher hub{dir.path()};
    CHECK(
        failure(hub_errc::not_found, [&] { run(hub.fetch("org/model")); }) ==
        "org/model: no such repository on this machine; looked at " + (dir / "org/model").string() +
            ", " + (dir / "model").string());
    dir.write("model/a", "x");
    CHECK(run(hub.fetch("org/model")).dir() == dir / "model");
    CHECK(run(hub.fetch("model")).dir() == dir / "model");
    dir.write("org/model/a", "x");
    CHECK(run(hub.fetch("org/model")).dir() == dir / "org/model");
    dir.write("elsewhere/a", "x");
    hub.add("org/model", dir / "nowhere");
    CHECK(run(hub.fetch("org/model")).dir() == dir / "org/model");
    hub.add("org/model", dir / "elsewhere");
    CHECK(run(hub.fetch("org/model")).dir() == dir / "elsewhere");
    CHECK(run(hub.fetch("model")).dir() == dir / "model");
}

TEST_CASE("directory_fetcher: without a root only added folders are served")
{
    const temp_dir dir;
    dir.write("a", "x");
    directory_fetcher hub;
    CHECK_THAT(
        failure(hub_errc::not_found, [&] { run(hub.fetch("org/model")); }),
        EndsWith("looked at no folder, since none was given"));
    hub.add("org/model", dir.path());
    CHECK(run(hub.fetch("org/model")).files() == names{"a"});
}

TEST_CASE("directory_fetcher: an id that leads out of the root is refused")
{
    const temp_dir dir;
    dir.write("secret/a", "x");
    dir.make_dir("root/org");
    directory_fetcher hub{dir / "root"};
    const std::vector<std::string> ids{
        "../secret",
        "org/..",
        "..",
        ".",
        "./secret",
        "org/.",
        "",
        "/",
        "/secret",
        "secret/",
        "org//name",
        "org/../../secret",
        "org/name/more",
        (dir / "secret").string(),
        "..\\secret",
        "org\\name",
        std::string{"org\0name", 8},
        "org/na\nme",
        "\x7F"};
    for (const std::string& id : ids) {
        INFO(id);
        failure(errc::invalid_argument, [&] { run(hub.fetch(id)); });
        failure(errc::invalid_argument, [&] { hub.add(id, dir / "secret"); });
    }
}

TEST_CASE("directory_fetcher: names with dots that lead nowhere are fine")
{
    const temp_dir dir;
    dir.write("org/all-MiniLM-L6-v2.5/a", "x");
    dir.write("..model/a", "x");
    directory_fetcher hub{dir.path()};
    CHECK(run(hub.fetch("org/all-MiniLM-L6-v2.5")).files() == names{"a"});
    CHECK(run(hub.fetch("..model")).files() == names{"a"});
}

TEST_CASE("directory_fetcher: a file in the repository's place is no repository")
{
    const temp_dir dir;
    dir.write("org/model", "x");
    directory_fetcher hub{dir.path()};
    failure(hub_errc::not_found, [&] { run(hub.fetch("org/model")); });
    failure(hub_errc::not_found, [&] { run(hub.fetch("org/model2")); });
    dir.make_dir("org/empty");
    failure(hub_errc::not_found, [&] { run(hub.fetch("org/empty")); });
}

TEST_CASE("directory_fetcher: links to files are files, and those to folders are not followed")
{
    const temp_dir dir;
    const auto blob = dir.write("blobs/0123", "12345678");
    const auto repo = dir.make_dir("org/model");
    std::filesystem::create_symlink(blob, repo / "model.safetensors");
    std::filesystem::create_directory_symlink(repo, repo / "loop");
    dir.write("org/model/config.json", "{}");
    directory_fetcher hub{dir.path()};
    CHECK(run(hub.fetch("org/model")).files() == names{"config.json", "model.safetensors"});

    std::filesystem::remove(blob);
    CHECK_THAT(
        failure(hub_errc::io_failed, [&] { run(hub.fetch("org/model")); }),
        EndsWith("model.safetensors: a link to nowhere"));
    CHECK(run(hub.fetch("org/model", file_selection{}.include("*.json"))).files().size() == 1);
}

TEST_CASE("directory_fetcher: what tools keep in a folder is left out")
{
    const temp_dir dir;
    for (const std::string name :
         {".git/HEAD", ".cache/huggingface/x", ".gitattributes", "sub/.git/x"})
        dir.write("org/model/" + name, "x");
    directory_fetcher hub{dir.path()};
    CHECK(run(hub.fetch("org/model")).files() == names{".gitattributes", "sub/.git/x"});
}

TEST_CASE("directory_fetcher: progress is told once, with all bytes, on the caller's thread")
{
    temp_dir dir;
    directory_fetcher hub{filled(dir).path()};
    std::vector<fetch_progress> told;
    std::thread::id thread;
    auto listen = [&](const fetch_progress& progress) {
        told.push_back(progress);
        thread = std::this_thread::get_id();
    };
    run(hub.fetch("org/model", file_selection{}, listen));
    REQUIRE(told.size() == 1);
    CHECK(thread == std::this_thread::get_id());
    CHECK(told[0].repo == "org/model");
    CHECK(told[0].path.empty());
    CHECK(told[0].done_bytes == 17);
    CHECK(told[0].total_bytes == 17);
    CHECK(told[0].n_files_done == 3);
    CHECK(told[0].n_files == 3);
}

TEST_CASE("directory_fetcher: it may be destroyed while an operation waits to run")
{
    temp_dir dir;
    auto hub = std::make_unique<directory_fetcher>(filled(dir).path());
    awaitable<snapshot> operation = hub->fetch("org/model");
    hub.reset();
    CHECK(run(std::move(operation)).files().size() == 3);
}

TEST_CASE("directory_fetcher: there is nothing to download")
{
    directory_fetcher hub;
    awaitable<std::vector<std::byte>> operation = hub.get("http://example.org/a.png", url_limits{});
    CHECK_THAT(
        failure(errc::unsupported, [&] { run(std::move(operation)); }),
        Contains("http://example.org/a.png"));
}

static awaitable<void> fetch_scenario(testing::sweep_step step)
{
    temp_dir dir;
    directory_fetcher hub{filled(dir).path()};
    auto running = step.cancellable(hub.fetch("org/model"));
    co_await std::move(running);
    auto again = hub.fetch("org/model");
    const snapshot found = co_await std::move(again);
    CHECK(found.files().size() == 3);
}

TEST_CASE("directory_fetcher: a fetch cancelled at every point")
{
    testing::sweep_cancellation(&fetch_scenario);
}

}  // namespace modelpool
