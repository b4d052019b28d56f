#include <modelpool/hub/hub.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "fake_hub.hpp"
#include "support/failure.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using std::chrono::milliseconds;
using testing::blobs_in;
using testing::connection;
using testing::failure;
using testing::fake_hub;
using testing::noise;
using testing::quick_options;
using testing::read_all;
using testing::run_hub;
using testing::seen_request;
using testing::temp_dir;
namespace fs = std::filesystem;

const std::string repo_dir = "cache/models--org--model";

// A server with a few files, all of which are in the cache.
struct filled {
    filled()
    {
        server.add("config.json", "{}");
        server.add("sub/words.txt", "some words");
        server.add("model.bin", noise(2'000'000), true);
        fetch();
        server.hub.forget();
        server.cdn.forget();
    }
    fetched fetch(fetch_options options = {})
    {
        hub files{quick_options(server, dir)};
        return run_hub(files.fetch_files("org/model", {}, std::move(options)));
    }
    fetched fetch_offline(const file_selection& selection = {})
    {
        hub files{quick_options(server, dir).offline(true)};
        return run_hub(files.fetch_files("org/model", selection, {}));
    }
    fs::path in_repo(const std::string& path) const { return dir / (repo_dir + "/" + path); }

    fake_hub server;
    temp_dir dir;
};

}  // namespace

TEST_CASE("hub offline: what is in the cache is found, and no request is made")
{
    filled test;
    const fetched all = test.fetch_offline();
    CHECK(all.files().size() == 3);
    CHECK(all.listed());
    CHECK(test.server.hub.n_seen() == 0);
    hub files{quick_options(test.server, test.dir).offline(true)};
    CHECK_THAT(
        failure(hub_errc::unavailable, [&] { run_hub(files.fetch("org/other")); }),
        Contains("not in the cache"));
    CHECK(read_all(run_hub(files.fetch_file("org/model", "sub/words.txt"))) == "some words");
    failure(hub_errc::unavailable, [&] { run_hub(files.fetch_file("org/model", "other")); });
    failure(errc::unsupported, [&] { run_hub(files.get(test.server.hub.url(), {})); });
}

TEST_CASE("hub offline: a snapshot that lacks files is an error that lists them")
{
    filled test;
    fs::remove(test.in_repo("snapshots/" + std::string{fake_hub::commit} + "/config.json"));
    fs::remove(test.in_repo("blobs/" + test.server.name_of("config.json")));
    fs::remove(test.in_repo("snapshots/" + std::string{fake_hub::commit} + "/model.bin"));
    fs::remove(test.in_repo("blobs/" + test.server.name_of("model.bin")));
    CHECK_THAT(
        failure(hub_errc::unavailable, [&] { test.fetch_offline(); }),
        Contains("2 of 3 files are not in the cache: config.json, model.bin"));

    SECTION("without a listing the caller is told that completeness is not known")
    {
        fs::remove_all(test.in_repo("trees"));
        const fetched all = test.fetch_offline();
        CHECK_FALSE(all.listed());
        CHECK(all.snapshot().files() == std::vector<std::string>{"sub/words.txt"});
    }
    SECTION("an unreachable hub is told beside")
    {
        test.server.on_hub([](const seen_request&, connection& peer) {
            peer.respond(503, "");
            return true;
        });
        CHECK_THAT(
            failure(hub_errc::unavailable, [&] { test.fetch(); }),
            Contains("2 of 3 files") && Contains("the server failed"));
    }
}

TEST_CASE("hub cache: a truncated blob is downloaded again, and offline it is an error")
{
    filled test;
    const fs::path blob = test.in_repo("blobs/" + test.server.name_of("model.bin"));
    fs::resize_file(blob, 1000);
    CHECK_THAT(failure(hub_errc::corrupt, [&] { test.fetch_offline(); }), Contains("1000 bytes"));
    test.fetch();
    CHECK(read_all(blob) == test.server.content(test.server.name_of("model.bin")));
}

TEST_CASE("hub cache: links that dangle, or lead elsewhere, are replaced")
{
    filled test;
    const fs::path link =
        test.in_repo("snapshots/" + std::string{fake_hub::commit} + "/config.json");
    const std::string right = "../../blobs/" + test.server.name_of("config.json");
    SECTION("dangling")
    {
        fs::remove(link);
        fs::create_symlink("../../blobs/nothing", link);
        test.fetch();
        CHECK(fs::read_symlink(link) == right);
    }
    SECTION("to another blob")
    {
        fs::remove(link);
        fs::create_symlink("../../blobs/" + test.server.name_of("model.bin"), link);
        test.fetch();
        CHECK(fs::read_symlink(link) == right);
    }
    SECTION("many at once")
    {
        fs::remove(link);
        std::vector<std::thread> threads;
        std::atomic<int> n_good{0};
        for (int i = 0; i < 16; ++i)
            threads.emplace_back([&] {
                hub files{quick_options(test.server, test.dir)};
                if (run_hub(files.fetch("org/model")).files().size() == 3) ++n_good;
            });
        for (std::thread& one : threads)
            one.join();
        CHECK(n_good == 16);
        CHECK(fs::read_symlink(link) == right);
        for (const auto& entry : fs::directory_iterator{test.in_repo("")})
            CHECK(entry.path().extension() != ".tmp");
    }
    SECTION("a regular file of the right length is as good")
    {
        fs::remove(link);
        fs::remove(test.in_repo("blobs/" + test.server.name_of("config.json")));
        std::ofstream{link} << "{}";
        const fetched all = test.fetch();
        CHECK(all.files()[0].cached);
    }
}

TEST_CASE("hub cache: without symbolic links the files are the blobs under other names")
{
    fake_hub server;
    server.add("sub/config.json", "{}");
    const temp_dir dir;
    hub files{quick_options(server, dir).symlinks(false)};
    const snapshot got = run_hub(files.fetch("org/model"));
    CHECK_FALSE(fs::is_symlink(got.dir() / "sub/config.json"));
    CHECK(fs::hard_link_count(got.dir() / "sub/config.json") == 2);
    CHECK(run_hub(files.fetch_files("org/model", {}, {})).files()[0].cached);
}

TEST_CASE("hub cache: an id in another casing uses the folder that is there")
{
    filled test;
    hub files{quick_options(test.server, test.dir).offline(true)};
    CHECK(run_hub(files.fetch("Org/Model")).files().size() == 3);
    CHECK_FALSE(fs::exists(test.dir / "cache/models--Org--Model"));
}

TEST_CASE("hub cache: a file that does not exist is asked for once")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.on_hub([](const seen_request& asked, connection& peer) {
        if (asked.path().find("/tree/") == std::string::npos) return false;
        peer.respond(404, "");
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const std::string pinned = std::string{"org/model@"} + fake_hub::commit;
    failure(hub_errc::not_found, [&] { run_hub(files.fetch_file(pinned, "optional.json")); });
    CHECK(fs::exists(
        dir / (repo_dir + "/.no_exist/" + std::string{fake_hub::commit} + "/optional.json")));
    server.hub.forget();
    failure(hub_errc::not_found, [&] { run_hub(files.fetch_file(pinned, "optional.json")); });
    CHECK(server.hub.n_seen() == 0);
}

TEST_CASE("hub cache: named files that may be absent are left out, with and without a hub")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.on_hub([](const seen_request& asked, connection& peer) {
        if (asked.path().find("/tree/") == std::string::npos) return false;
        peer.respond(404, "");
        return true;
    });
    const temp_dir dir;
    const auto two = file_selection{}.include("config.json").include("a.txt");
    const std::vector<std::string> one{"config.json"};
    hub files{quick_options(server, dir)};
    CHECK(run_hub(files.fetch("org/model", two)).files() == one);
    failure(hub_errc::not_found, [&] { run_hub(files.fetch_files("org/model", two, {})); });
    failure(hub_errc::not_found, [&] {
        run_hub(files.fetch("org/model", file_selection{}.include("a.txt")));
    });
    hub offline{quick_options(server, dir).offline(true)};
    CHECK(run_hub(offline.fetch("org/model", two)).files() == one);
}

TEST_CASE("hub cache: a named file that the listing lacks is not found, and patterns say so too")
{
    filled test;
    hub files{quick_options(test.server, test.dir)};
    const auto fetch = [&](const char* pattern) {
        run_hub(files.fetch("org/model", file_selection{}.include(pattern)));
    };
    CHECK_THAT(failure(hub_errc::not_found, [&] { fetch("a.txt"); }), Contains("a.txt"));
    CHECK_THAT(failure(hub_errc::not_found, [&] { fetch("*.gguf"); }), Contains("is selected"));
    const auto two = file_selection{}.include("config.json").include("a.txt");
    CHECK_THAT(
        failure(hub_errc::not_found, [&] { run_hub(files.fetch_files("org/model", two, {})); }),
        Contains("a.txt"));
    CHECK(
        run_hub(files.fetch("org/model", two)).files() == std::vector<std::string>{"config.json"});
    failure(errc::invalid_argument, [&] { run_hub(files.fetch("../x")); });
    failure(errc::invalid_argument, [&] { run_hub(files.fetch("org/model@../x")); });
    failure(errc::invalid_argument, [&] { run_hub(files.fetch_file("org/model", "../x")); });
}

TEST_CASE("hub cache: a lock that another holds is waited for, and its blob then used")
{
    fake_hub server;
    server.add("model.bin", noise(2'000'000), true);
    const std::string name = server.name_of("model.bin");
    const temp_dir dir;
    const fs::path lock = dir.write("cache/.locks/models--org--model/" + name + ".lock", "");
    const int fd = ::open(lock.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(::flock(fd, LOCK_EX) == 0);
    std::thread holder{[&] {
        std::this_thread::sleep_for(milliseconds{300});
        dir.write(repo_dir + "/blobs/" + name, server.content(name));
        ::close(fd);
    }};
    hub files{quick_options(server, dir)};
    const fetched all = run_hub(files.fetch_files("org/model", {}, {}));
    holder.join();
    CHECK(all.files()[0].cached);
    CHECK(server.cdn.n_seen() == 0);
    CHECK((fs::status(lock).permissions() & fs::perms::all) == static_cast<fs::perms>(0664));
}

TEST_CASE("hub cache: a lock that never comes free costs bandwidth only, where a limit is set")
{
    fake_hub server;
    server.add("model.bin", noise(2'000'000), true);
    const std::string name = server.name_of("model.bin");
    const temp_dir dir;
    const fs::path lock = dir.write("cache/.locks/models--org--model/" + name + ".lock", "");
    const int fd = ::open(lock.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(::flock(fd, LOCK_EX) == 0);
    hub files{quick_options(server, dir).lock_wait(milliseconds{50})};
    CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
    ::close(fd);
}

TEST_CASE("hub cache: hidden hashes are not used, and the listing is not kept")
{
    fake_hub server;
    server.add("model.bin", noise(3'000), true);
    const std::string name = server.name_of("model.bin");
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/tree/") == std::string::npos) return false;
        std::string listing = server.tree();
        listing.replace(listing.find(name), 64, std::string(64, '*'));
        peer.respond(200, "", listing);
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const snapshot got = run_hub(files.fetch("org/model"));
    CHECK(read_all(got.dir() / "model.bin") == server.content(name));
    CHECK(blobs_in(dir) == std::vector<std::string>{name});
    CHECK_FALSE(fs::exists(dir / (repo_dir + "/trees")));
}

TEST_CASE("hub cache: a dry run says what would be downloaded, and writes nothing")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.add("model.bin", noise(2'000'000), true);
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const fetched all = run_hub(files.fetch_files("org/model", {}, fetch_options{}.dry_run(true)));
    REQUIRE(all.files().size() == 2);
    CHECK(all.files()[1].bytes == 2'000'000);
    CHECK(all.files()[1].sha256 == server.name_of("model.bin"));
    CHECK_FALSE(all.files()[1].cached);
    CHECK_FALSE(fs::exists(dir / "cache"));
}

TEST_CASE("hub cache: a local folder gets copies, with the notes of Python's client beside them")
{
    filled test;
    const fetched all = test.fetch(fetch_options{}.local_dir(test.dir / "here").hashes(true));
    CHECK(read_all(test.dir / "here/sub/words.txt") == "some words");
    CHECK_FALSE(fs::is_symlink(test.dir / "here/sub/words.txt"));
    CHECK(all.files()[2].sha256 == testing::sha256_of("some words"));
    const std::string notes =
        read_all(test.dir / "here/.cache/huggingface/download/sub/words.txt.metadata");
    CHECK_THAT(
        notes,
        Catch::Matchers::StartsWith(
            std::string{fake_hub::commit} + "\n" + test.server.name_of("sub/words.txt") + "\n"));
    CHECK(read_all(test.dir / "here/.cache/huggingface/.gitignore") == "*");
}

TEST_CASE("hub cache: force downloads again what is there")
{
    filled test;
    const fetched all = test.fetch(fetch_options{}.force(true));
    CHECK_FALSE(all.files()[0].cached);
    CHECK(test.server.cdn.n_seen() > 0);
}

TEST_CASE("hub cache: a full check of hits finds changed bytes")
{
    filled test;
    const fs::path blob = test.in_repo("blobs/" + test.server.name_of("config.json"));
    std::ofstream{blob, std::ios::trunc} << "[]";
    test.fetch();
    CHECK(read_all(blob) == "[]");
    hub files{quick_options(test.server, test.dir).verify_hits(hit_check::hash)};
    CHECK(run_hub(files.fetch_files("org/model", {}, {})).files()[0].bytes == 2);
    CHECK(read_all(blob) == "{}");
}

TEST_CASE("hub cache: scan, verify, prune and import")
{
    filled test;
    hub files{quick_options(test.server, test.dir)};
    const auto all = run_hub(files.cached());
    REQUIRE(all.size() == 1);
    CHECK(all[0].id == "org/model");
    CHECK(all[0].bytes == 2'000'012);
    REQUIRE(all[0].commits.size() == 1);
    CHECK(all[0].commits[0].refs == std::vector<std::string>{"main"});
    CHECK(all[0].commits[0].files.size() == 3);
    CHECK(run_hub(files.verify("org/model")).empty());
    failure(hub_errc::not_found, [&] { run_hub(files.verify("org/none")); });

    SECTION("verify names what is wrong")
    {
        std::ofstream{test.in_repo("blobs/" + test.server.name_of("config.json")), std::ios::trunc}
            << "[]";
        fs::remove(test.in_repo("blobs/" + test.server.name_of("model.bin")));
        const auto faults = run_hub(files.verify({}));
        REQUIRE(faults.size() == 2);
        CHECK(faults[0].path == "config.json");
        CHECK(faults[0].found == testing::git_sha1_of("[]"));
        CHECK(faults[1].found == "a link to nowhere");
    }
    SECTION("prune takes what no branch names, and old partial files")
    {
        test.dir.write(repo_dir + "/blobs/" + std::string(40, 'e'), "unused");
        test.dir.write(repo_dir + "/blobs/x.0123abcd.incomplete", "partial");
        CHECK(run_hub(files.prune(prune_options{}.dry_run(true))).n_blobs == 1);
        const pruned first = run_hub(files.prune({}));
        CHECK(first.n_blobs == 1);
        CHECK(first.n_commits == 0);
        CHECK(first.n_partials == 0);
        const pruned second =
            run_hub(files.prune(prune_options{}.partials_older_than(std::chrono::seconds{0})));
        CHECK(second.n_partials == 1);
        fs::remove(test.in_repo("refs/main"));
        CHECK(run_hub(files.prune({})).n_commits == 1);
        CHECK(blobs_in(test.dir).empty());
    }
    SECTION("prune removes whole repositories by name")
    {
        failure(hub_errc::not_found, [&] {
            run_hub(files.prune(prune_options{}.repository("org/none")));
        });
        CHECK(run_hub(files.prune(prune_options{}.repository("org/model"))).n_repositories == 1);
        CHECK_FALSE(fs::exists(test.in_repo("")));
    }
    SECTION("prune keeps what is to be kept, and what was used")
    {
        test.dir.write("folder/config.json", "{}");
        run_hub(files.import_folder(test.dir / "folder", "my/own"));
        CHECK(run_hub(files.prune(prune_options{}.keep("*"))).n_repositories == 0);
        const auto recent = prune_options{}.unused_for(std::chrono::hours{1});
        CHECK(run_hub(files.prune(recent)).n_repositories == 0);
        CHECK(run_hub(files.prune(prune_options{}.keep("org/*"))).n_repositories == 1);
        REQUIRE(run_hub(files.cached()).size() == 1);
        CHECK(run_hub(files.cached())[0].id == "org/model");
        const auto age = std::chrono::system_clock::now() - run_hub(files.cached())[0].last_used;
        CHECK(age < std::chrono::hours{1});
        const auto all_of_it = prune_options{}.unused_for(std::chrono::seconds{0});
        CHECK(run_hub(files.prune(all_of_it)).n_repositories == 1);
        CHECK(run_hub(files.cached()).empty());
    }
    SECTION("an imported folder is fetched without a network")
    {
        test.dir.write("folder/config.json", "{}");
        test.dir.write("folder/sub/a.bin", "bytes");
        const snapshot got = run_hub(files.import_folder(test.dir / "folder", "my/own"));
        CHECK(got.files() == std::vector<std::string>{"config.json", "sub/a.bin"});
        hub offline{quick_options(test.server, test.dir).offline(true)};
        const snapshot found = run_hub(offline.fetch("my/own"));
        CHECK(read_all(found.dir() / "sub/a.bin") == "bytes");
        CHECK(run_hub(files.verify("my/own")).empty());
        failure(hub_errc::not_found, [&] {
            run_hub(files.import_folder(test.dir / "nowhere", "my/own"));
        });
    }
}

}  // namespace modelpool
