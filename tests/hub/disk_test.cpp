#include <modelpool/hub/hub.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "broken_calls.hpp"
#include "child.hpp"
#include "fake_hub.hpp"
#include "hub/store.hpp"
#include "support/failure.hpp"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using testing::blobs_in;
using testing::broken_calls;
using testing::calls_broken;
using testing::child;
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

constexpr const char* repo_dir = "cache/models--org--model";

// A tmpfs of some bytes; not there where this user may not mount.
class small_disk {
public:
    explicit small_disk(const fs::path& place, const std::string& size)
        : place_{place}
    {
        fs::create_directories(place);
        const std::string options = "size=" + size;
        mounted_ = ::mount("tmpfs", place.c_str(), "tmpfs", 0, options.c_str()) == 0;
    }
    ~small_disk()
    {
        if (mounted_) ::umount2(place_.c_str(), MNT_DETACH);
    }
    small_disk(const small_disk&) = delete;
    small_disk& operator=(const small_disk&) = delete;
    small_disk(small_disk&&) = delete;
    small_disk& operator=(small_disk&&) = delete;

    bool mounted() const noexcept { return mounted_; }

private:
    fs::path place_;
    bool mounted_;
};

std::string variable(broken_calls how)
{
    return "MODELPOOL_TEST_BROKEN=" + std::to_string(static_cast<int>(how));
}

// Eight processes fetch one file of 6 MB at once, with calls that misbehave.
struct eight_processes {
    explicit eight_processes(broken_calls how)
    {
        server.add("model.bin", noise(6'000'000), true);
        std::vector<std::unique_ptr<child>> all;
        for (int i = 0; i < 8; ++i)
            all.push_back(std::make_unique<child>(server, dir, std::vector{variable(how)}));
        for (auto& one : all)
            CHECK(one->wait());
        const std::string name = server.name_of("model.bin");
        CHECK(blobs_in(dir) == std::vector<std::string>{name});
        CHECK(read_all(dir / (std::string{repo_dir} + "/blobs/" + name)) == server.content(name));
    }

    fake_hub server;
    temp_dir dir;
};

// All of a folder's entries with their times of change: equal where nothing was written.
std::vector<std::string> traces(const fs::path& dir)
{
    std::vector<std::string> found;
    for (const auto& one : fs::recursive_directory_iterator{dir}) {
        struct stat now {};
        REQUIRE(::lstat(one.path().c_str(), &now) == 0);
        found.push_back(
            one.path().string() + " " + std::to_string(now.st_mtim.tv_sec) + "." +
            std::to_string(now.st_mtim.tv_nsec) + " " + std::to_string(now.st_size));
    }
    std::sort(found.begin(), found.end());
    return found;
}

void forbid_writing(const fs::path& dir)
{
    constexpr auto write =
        fs::perms::owner_write | fs::perms::group_write | fs::perms::others_write;
    for (const auto& one : fs::recursive_directory_iterator{dir})
        if (!one.is_symlink()) fs::permissions(one.path(), write, fs::perm_options::remove);
    fs::permissions(dir, write, fs::perm_options::remove);
}

}  // namespace

TEST_CASE("hub disk: locks that lock nobody cost bandwidth, and the file is right")
{
    const eight_processes test{broken_calls::lock_for_all};
    CHECK(test.server.cdn.n_sent() > 6'000'000);
}

TEST_CASE("hub disk: a file system without locks is gone on with")
{
    const eight_processes test{broken_calls::no_locks};
    CHECK(test.server.cdn.n_sent() > 6'000'000);
}

TEST_CASE("hub disk: locks that want a file open for writing get one")
{
    const eight_processes test{broken_calls::locks_for_writable};
    CHECK(test.server.cdn.n_sent() < 6'600'000);
}

TEST_CASE("hub disk: where links cannot be made the files have two names")
{
    fake_hub server;
    server.add("sub/model.bin", noise(3'000'000), true);
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const calls_broken none{broken_calls::no_links};
    const snapshot got = run_hub(files.fetch("org/model"));
    const fs::path place = got.dir() / "sub/model.bin";
    CHECK_FALSE(fs::is_symlink(place));
    CHECK(fs::hard_link_count(place) == 2);
    CHECK(read_all(place) == server.content(server.name_of("sub/model.bin")));
    for (const auto& entry : fs::directory_iterator{dir / repo_dir})
        CHECK(entry.path().extension() != ".tmp");
}

TEST_CASE("hub disk: a full disk is an error before the download, and nothing is lost")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.add("model.bin", noise(16'000'000), true);
    const temp_dir dir;
    const small_disk disk{dir / "cache", "8m"};
    if (!disk.mounted()) {
        WARN("skipped: this user may not mount a tmpfs");
        return;
    }
    hub files{quick_options(server, dir)};
    run_hub(files.fetch("org/model", file_selection{}.include("config.json")));
    CHECK_THAT(
        failure(hub_errc::io_failed, [&] { run_hub(files.fetch("org/model")); }),
        Contains("no room for 16000000 bytes"));
    CHECK(server.cdn.n_seen() == 0);
    CHECK(blobs_in(dir) == std::vector<std::string>{server.name_of("config.json")});
    CHECK(
        run_hub(files.fetch("org/model", file_selection{}.include("config.json"))).files().size() ==
        1);
}

TEST_CASE("hub disk: one that fills up meanwhile ends the fetch, and what is here is gone on with")
{
    fake_hub server;
    server.add("model.bin", noise(3'000'000), true);
    // A length that nobody names cannot be reserved.
    const std::string name = server.name_of("model.bin");
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/resolve/") == std::string::npos) return false;
        peer.head(200, fake_hub::facts(name) + "Connection: close\r\n");
        peer.send(server.content(name));
        peer.close();
        return true;
    });
    const temp_dir dir;
    const small_disk disk{dir / "cache", "2m"};
    if (!disk.mounted()) {
        WARN("skipped: this user may not mount a tmpfs");
        return;
    }
    hub files{quick_options(server, dir)};
    CHECK_THAT(
        failure(hub_errc::io_failed, [&] { run_hub(files.fetch_file("org/model", "model.bin")); }),
        Contains("cannot be written: No space left on device"));
    for (const std::string& one : blobs_in(dir))
        CHECK_THAT(one, Catch::Matchers::EndsWith(".incomplete"));
}

TEST_CASE("hub disk: the cache and a local folder may lie on two file systems")
{
    fake_hub server;
    server.add("sub/model.bin", noise(3'000'000), true);
    const temp_dir dir;
    const small_disk disk{dir / "cache", "16m"};
    if (!disk.mounted()) {
        WARN("skipped: this user may not mount a tmpfs");
        return;
    }
    hub files{quick_options(server, dir)};
    run_hub(files.fetch_files("org/model", {}, fetch_options{}.local_dir(dir / "here")));
    CHECK(read_all(dir / "here/sub/model.bin") == server.content(server.name_of("sub/model.bin")));
    run_hub(files.import_folder(dir / "here", "my/own"));
    CHECK(run_hub(files.verify("my/own")).empty());
}

TEST_CASE("hub disk: blobs that lie on another file system are replaced, never written into")
{
    fake_hub server;
    server.add("model.bin", noise(3'000'000), true);
    const std::string name = server.name_of("model.bin");
    const temp_dir dir;
    const small_disk disk{dir / "store", "16m"};
    if (!disk.mounted()) {
        WARN("skipped: this user may not mount a tmpfs");
        return;
    }
    const fs::path shared = dir.write("store/shared", server.content(name).substr(0, 1000));
    const fs::path blob = dir / (std::string{repo_dir} + "/blobs/" + name);
    fs::create_directories(blob.parent_path());
    fs::create_symlink(shared, blob);
    hub files{quick_options(server, dir)};
    run_hub(files.fetch("org/model"));
    CHECK(read_all(blob) == server.content(name));
    CHECK_FALSE(fs::is_symlink(blob));
    CHECK(read_all(shared).size() == 1000);
    // A whole one is used where it lies.
    fs::remove(blob);
    dir.write("store/shared", server.content(name));
    fs::create_symlink(shared, blob);
    server.cdn.forget();
    run_hub(files.fetch("org/model"));
    CHECK(fs::is_symlink(blob));
    CHECK(server.cdn.n_seen() == 0);
}

// Root may write everywhere, so the one that reads is another user.
TEST_CASE("hub disk: a cache that may only be read serves what it has, and nothing is written")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.add("model.bin", noise(2'000'000), true);
    const temp_dir dir;
    run_hub(hub{quick_options(server, dir)}.fetch("org/model"));
    fs::permissions(dir.path(), fs::perms::others_exec, fs::perm_options::add);
    forbid_writing(dir / "cache");
    const std::vector<std::string> before = traces(dir / "cache");
    const std::string as_nobody = "MODELPOOL_TEST_USER=65534";
    if (child{server, dir, {as_nobody, "MODELPOOL_TEST_LOOK=" + (dir / "cache").string()}}.wait()) {
        CHECK(child{server, dir, {as_nobody}}.wait());
        CHECK(child{server, dir, {as_nobody, "HF_HUB_OFFLINE=1"}}.wait());
        CHECK(traces(dir / "cache") == before);
        // What is not there cannot be fetched, and that is said.
        fs::permissions(dir.path(), fs::perms::owner_write, fs::perm_options::remove);
        CHECK_FALSE(
            child{server, dir, {as_nobody, "HF_HUB_CACHE=" + (dir / "other").string()}}.wait());
        fs::permissions(dir.path(), fs::perms::owner_write, fs::perm_options::add);
    } else {
        WARN("skipped: another user cannot reach " + dir.path().string());
    }
    for (const auto& one : fs::recursive_directory_iterator{dir.path()})
        if (!one.is_symlink())
            fs::permissions(one.path(), fs::perms::owner_write, fs::perm_options::add);
}

TEST_CASE("hub disk: files get the permissions that the umask leaves, and locks are everybody's")
{
    const auto [mask, left] = GENERATE(
        std::pair<mode_t, mode_t>{0002, 0664},
        std::pair<mode_t, mode_t>{0022, 0644},
        std::pair<mode_t, mode_t>{0077, 0600});
    fake_hub server;
    server.add("config.json", "{}");
    server.add("model.bin", noise(2'000'000), true);
    const temp_dir dir;
    const mode_t before = ::umask(mask);
    run_hub(hub{quick_options(server, dir)}.fetch("org/model"));
    ::umask(before);
    const auto mode_of = [](const fs::path& path) {
        return static_cast<mode_t>(fs::status(path).permissions() & fs::perms::all);
    };
    for (const char* const path : {"config.json", "model.bin"}) {
        const std::string name = server.name_of(path);
        CHECK(mode_of(dir / (std::string{repo_dir} + "/blobs/" + name)) == left);
        CHECK(mode_of(dir / ("cache/.locks/models--org--model/" + name + ".lock")) == 0664);
    }
}

TEST_CASE("hub disk: a note of a missing file that cannot be written changes nothing")
{
    fake_hub server;
    server.add("config.json", "{}");
    const temp_dir dir;
    dir.write(std::string{repo_dir} + "/.no_exist", "a file where a folder should be");
    hub files{quick_options(server, dir)};
    CHECK_THAT(
        failure(
            hub_errc::not_found, [&] { run_hub(files.fetch_file("org/model", "optional.json")); }),
        Contains("optional.json"));
}

TEST_CASE("hub disk: a branch that others write in place is never read in the middle")
{
    const temp_dir dir;
    const fetching::repo_layout layout{dir / "cache", repository_kind::model, "org/model"};
    const fs::path ref = dir.write(std::string{repo_dir} + "/refs/main", fake_hub::commit);
    std::atomic<bool> ends{false};
    std::thread writer{[&] {
        while (!ends) {
            std::ofstream out{ref, std::ios::trunc};
            out << std::string{fake_hub::commit}.substr(0, 7) << std::flush;
            out << std::string{fake_hub::commit}.substr(7);
        }
    }};
    for (int i = 0; i < 300; ++i) {
        const auto commit = fetching::blocking_read_ref(layout, "main");
        if (commit) CHECK(*commit == fake_hub::commit);
    }
    ends = true;
    writer.join();
    CHECK(fetching::blocking_read_ref(layout, "main") == fake_hub::commit);
}

}  // namespace modelpool
