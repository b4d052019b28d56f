#include <modelpool/hub/hub.hpp>

#include <catch2/catch.hpp>

#include <string>

#include "fake_hub.hpp"
#include "support/failure.hpp"

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using testing::blobs_in;
using testing::failure;
using testing::fake_hub;
using testing::noise;
using testing::quick_options;
using testing::read_all;
using testing::run_hub;
using testing::temp_dir;
namespace fs = std::filesystem;

}  // namespace

TEST_CASE("hub: a repository is fetched whole, small files and large ones")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.add("1_Pooling/config.json", R"({"a":1})");
    server.add("empty.txt", "");
    server.add("model.safetensors", noise(20'000'001), true);
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const fetched all = run_hub(files.fetch_files("org/model", {}, {}));
    CHECK(all.snapshot().commit() == fake_hub::commit);
    REQUIRE(all.files().size() == 4);
    CHECK(all.stale().empty());
    for (const fetched_file& file : all.files()) {
        INFO(file.path);
        CHECK(
            read_all(all.snapshot().dir() / file.path) ==
            server.content(server.name_of(file.path)));
        CHECK_FALSE(file.cached);
        CHECK(file.verified);
    }
    const fs::path link = all.snapshot().dir() / "1_Pooling/config.json";
    CHECK(fs::read_symlink(link) == "../../../blobs/" + server.name_of("1_Pooling/config.json"));
    CHECK(read_all(dir / "cache/models--org--model/refs/main") == fake_hub::commit);
    CHECK(blobs_in(dir).size() == 4);
    // One request for the commit, one for the listing, two for each small file, one for a large
    // one.
    CHECK(server.hub.n_seen() == 2 + 2 * 3 + 1);

    SECTION("a second fetch asks for the commit alone")
    {
        server.hub.forget();
        server.cdn.forget();
        const fetched again = run_hub(files.fetch_files("org/model", {}, {}));
        CHECK(again.files()[3].cached);
        CHECK(server.hub.n_seen() == 1);
        CHECK(server.cdn.n_seen() == 0);
    }
    SECTION("a pinned commit asks for nothing")
    {
        server.hub.forget();
        run_hub(files.fetch(std::string{"org/model@"} + fake_hub::commit));
        CHECK(server.hub.n_seen() == 0);
    }
    SECTION("the cache may be moved")
    {
        fs::rename(dir / "cache", dir / "moved");
        hub_options options = quick_options(server, dir);
        options.cache_dir(dir / "moved").offline(true);
        hub moved{options};
        const snapshot found = run_hub(moved.fetch("org/model"));
        CHECK(read_all(found.dir() / "config.json") == "{}");
    }
}

}  // namespace modelpool
