#include <modelpool/hub/hub.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "fake_hub.hpp"
#include "hub/journal.hpp"
#include "support/failure.hpp"

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using std::chrono::milliseconds;
using testing::blobs_in;
using testing::connection;
using testing::failure;
using testing::fake_hub;
using testing::fault_server;
using testing::noise;
using testing::quick_options;
using testing::read_all;
using testing::run_hub;
using testing::seen_request;
using testing::temp_dir;
namespace fs = std::filesystem;

constexpr std::size_t large = 20'000'001;

// A server with one large file, and a hub that fetches it.
struct large_file {
    large_file() { server.add("model.bin", noise(large), true); }

    // Long enough that a busy machine is not taken for a silent server.
    snapshot fetch()
    {
        hub_options options = quick_options(server, dir);
        options.download_timeout(milliseconds{3000}).low_speed_time(milliseconds{4000});
        return run_hub(hub{options}.fetch("org/model"));
    }
    void check(const snapshot& got) const
    {
        CHECK(read_all(got.dir() / "model.bin") == server.content(server.name_of("model.bin")));
        CHECK(blobs_in(dir) == std::vector<std::string>{server.name_of("model.bin")});
    }
    std::string body() const { return server.content(server.name_of("model.bin")); }

    fake_hub server;
    temp_dir dir;
};

std::string span_headers(const seen_request& asked, std::size_t size)
{
    const auto [begin, end] = asked.range(size);
    return "Content-Range: bytes " + std::to_string(begin) + "-" + std::to_string(end - 1) + "/" +
           std::to_string(size) + "\r\nContent-Length: " + std::to_string(end - begin) + "\r\n";
}

}  // namespace

TEST_CASE("hub: a server that drops the connection and then ignores ranges gives the file once")
{
    large_file test;
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        const std::string body = test.body();
        if (asked.n_before == 0) {
            peer.head(206, span_headers(asked, body.size()));
            peer.send(std::string_view{body}.substr(asked.range(body.size()).first, large / 5));
            peer.close();
        } else {
            peer.respond(200, "", body);
        }
        return true;
    });
    test.check(test.fetch());
}

TEST_CASE("hub: a connection that breaks off again and again, with progress, ends well")
{
    large_file test;
    std::atomic<std::uint64_t> n_body{0};
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        if (asked.n_before > 12) return false;
        const std::string body = test.body();
        const auto [begin, end] = asked.range(body.size());
        const std::size_t n = std::min<std::size_t>(1'000'000, end - begin);
        peer.head(206, span_headers(asked, body.size()));
        peer.send(std::string_view{body}.substr(begin, n));
        n_body += n;
        peer.reset();
        return true;
    });
    test.check(test.fetch());
}

TEST_CASE("hub: other ranges than were asked for are never put into the file")
{
    large_file test;
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        if (asked.header("range").empty()) return false;
        const std::string body = test.body();
        const auto [begin, end] = asked.range(body.size());
        const std::size_t shifted = begin + 512;
        const std::size_t stop = std::min(end + 512, body.size());
        peer.respond(
            206,
            "Content-Range: bytes " + std::to_string(shifted) + "-" + std::to_string(stop - 1) +
                "/" + std::to_string(body.size()) + "\r\n",
            std::string_view{body}.substr(shifted, stop - shifted));
        return true;
    });
    test.check(test.fetch());
}

TEST_CASE("hub: a signed address that expires is asked for again, and the download goes on")
{
    large_file test;
    std::atomic<int> n_signed{0};
    test.server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path() != "/org/model/resolve/" + std::string{fake_hub::commit} + "/model.bin")
            return false;
        const std::string name = test.server.name_of("model.bin");
        peer.respond(
            302,
            test.server.linked_facts(name) + "Location: " + test.server.cdn.url() + "/cdn/" + name +
                "?sig=" + std::to_string(++n_signed) + "\r\n");
        return true;
    });
    std::atomic<std::uint64_t> n_first{0};
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        const bool is_first = asked.target.ends_with("sig=1");
        if (is_first && n_first > 8'000'000) {
            peer.respond(403, "", "expired");
            return true;
        }
        if (!is_first) return false;
        const std::string body = test.body();
        const auto [begin, end] = asked.range(body.size());
        peer.head(206, span_headers(asked, body.size()));
        const std::size_t n = std::min<std::size_t>(6'000'000, end - begin);
        peer.send(std::string_view{body}.substr(begin, n));
        n_first += n;
        peer.close();
        return true;
    });
    test.check(test.fetch());
    CHECK(n_signed == 2);
    CHECK(test.server.cdn.n_sent() < large + large / 4);
}

TEST_CASE("hub: valid ranges that the server refuses are replaced by one stream")
{
    large_file test;
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        if (asked.header("range").empty()) return false;
        peer.respond(403, "", "invalid range");
        return true;
    });
    test.check(test.fetch());
}

TEST_CASE("hub: large files are asked for in closed ranges of at most a gibibyte")
{
    large_file test;
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        const auto [begin, end] = asked.range(large);
        if (!asked.header("range").ends_with('-') && !asked.header("range").empty() &&
            end - begin <= std::size_t{1} << 30U)
            return false;
        peer.respond(400, "", "too large without a range");
        return true;
    });
    test.check(test.fetch());
    CHECK(test.server.cdn.n_seen() >= 2);
}

TEST_CASE("hub: a wrong byte is found, and the file is downloaded again")
{
    large_file test;
    std::atomic<bool> always{false};
    std::atomic<int> n_flips{0};
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        std::string body = test.body();
        if (!always && n_flips > 0) return false;
        if (asked.range(body.size()).first > 0) return false;
        ++n_flips;
        body[5] = static_cast<char>(body[5] ^ 1);
        peer.serve(asked, body, "");
        return true;
    });
    SECTION("once: the second download is right")
    {
        test.check(test.fetch());
        CHECK(n_flips == 1);
    }
    SECTION("always: the error names both hashes, and nothing stays")
    {
        always = true;
        CHECK_THAT(
            failure(hub_errc::corrupt, [&] { test.fetch(); }),
            Contains("expected " + test.server.name_of("model.bin")) && Contains("twice the same"));
        CHECK(blobs_in(test.dir).empty());
    }
}

TEST_CASE("hub: a small file with wrong bytes is refused in the same way")
{
    fake_hub server;
    server.add("config.json", "{\"a\":1}");
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (!asked.target.starts_with("/api/resolve-cache/")) return false;
        peer.respond(200, fake_hub::facts(server.name_of("config.json")), "{\"a\":2}");
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    failure(hub_errc::corrupt, [&] { run_hub(files.fetch("org/model")); });
    CHECK(blobs_in(dir).empty());
}

TEST_CASE("hub: an error page in place of the bytes leaves neither blob nor link")
{
    large_file test;
    test.server.on_cdn([](const seen_request&, connection& peer) {
        peer.respond(500, "", "<html>sorry</html>");
        return true;
    });
    CHECK_THAT(
        failure(hub_errc::unavailable, [&] { test.fetch(); }), Contains("gave up after 8 tries"));
    for (const std::string& name : blobs_in(test.dir))
        CHECK_THAT(name, Catch::Matchers::EndsWith(".incomplete"));
    CHECK_FALSE(fs::exists(test.dir / "cache/models--org--model/snapshots"));
}

TEST_CASE("hub: a login page is no hub")
{
    fake_hub server;
    server.on_hub([](const seen_request&, connection& peer) {
        peer.respond(200, "Content-Type: text/html\r\n", "<html>log in</html>");
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    failure(hub_errc::unavailable, [&] { run_hub(files.fetch("org/model")); });
    CHECK_THAT(
        failure(hub_errc::unavailable, [&] { run_hub(files.fetch_file("org/model", "a.gguf")); }),
        Contains("X-Repo-Commit"));
    CHECK(blobs_in(dir).empty());
}

TEST_CASE("hub: a failing server is tried again, and one file's trouble does not end the fetch")
{
    fake_hub server;
    for (int i = 0; i < 20; ++i)
        server.add("file" + std::to_string(i), "content " + std::to_string(i));
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (!asked.target.ends_with("/file7") || asked.n_before >= 3) return false;
        peer.respond(502, "");
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    CHECK(run_hub(files.fetch("org/model")).files().size() == 20);
}

TEST_CASE("hub: a silent server is given up and asked again")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.on_hub([](const seen_request& asked, connection& peer) {
        if (asked.path().find("/revision/") == std::string::npos || asked.n_before >= 2)
            return false;
        peer.hold(milliseconds{5000});
        peer.close();
        return true;
    });
    const temp_dir dir;
    hub_options options = quick_options(server, dir);
    options.metadata_timeout(milliseconds{500});
    hub files{options};
    CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
}

TEST_CASE("hub: a connection that goes silent in the middle, or trickles, is replaced")
{
    large_file test;
    const bool trickles = GENERATE(false, true);
    std::atomic<int> n_bad{0};
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        const std::string body = test.body();
        if (asked.range(body.size()).first == 0 || n_bad++ > 0) return false;
        peer.head(206, span_headers(asked, body.size()));
        const std::size_t begin = asked.range(body.size()).first;
        for (std::size_t i = 0; i < 100; ++i) {
            if (trickles && !peer.send(std::string_view{body}.substr(begin + i, 1))) break;
            peer.hold(milliseconds{100});
        }
        peer.close();
        return true;
    });
    test.check(test.fetch());
    CHECK(n_bad >= 1);
}

// Nothing but the rescue ends the last piece's wait within the test's time.
TEST_CASE("hub: a connection that lags behind all others at the end gives its piece to another")
{
    large_file test;
    const bool trickles = GENERATE(false, true);
    std::atomic<int> n_bad{0};
    test.server.on_cdn([&](const seen_request& asked, connection& peer) {
        const std::string body = test.body();
        const auto [begin, end] = asked.range(body.size());
        if (begin != std::size_t{16} << 20U || n_bad++ > 0) return false;
        peer.head(206, span_headers(asked, body.size()));
        peer.send(std::string_view{body}.substr(begin, 1'000'000));
        for (std::size_t at = begin + 1'000'000; at < end; at += 2000) {
            if (trickles && !peer.send(std::string_view{body}.substr(at, 2000))) break;
            peer.hold(milliseconds{trickles ? 100 : 100'000});
        }
        peer.close();
        return true;
    });
    hub_options options = quick_options(test.server, test.dir);
    options.download_timeout(milliseconds{100'000}).low_speed_time(milliseconds{100'000});
    test.check(run_hub(hub{options}.fetch("org/model")));
    CHECK(n_bad >= 1);
    CHECK(test.server.cdn.n_sent() < large + large / 4);
}

TEST_CASE("hub: a small file that is unchanged is not sent again, and its branch moves on")
{
    fake_hub server;
    server.add("config.json", "{}");
    const std::string name = server.name_of("config.json");
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    run_hub(files.fetch_file("org/model", "config.json"));
    const std::string later(40, 'b');
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.header("if-none-match") != '"' + name + '"') return false;
        peer.respond(304, "X-Repo-Commit: " + later + "\r\nETag: \"" + name + "\"\r\n");
        return true;
    });
    server.hub.forget();
    const fs::path got = run_hub(files.fetch_file("org/model", "config.json"));
    CHECK(read_all(got) == "{}");
    CHECK(got == dir / ("cache/models--org--model/snapshots/" + later + "/config.json"));
    CHECK(read_all(dir / "cache/models--org--model/refs/main") == later);
    CHECK(server.hub.n_seen() == 1);

    SECTION("changed bytes in the cache are not taken for it")
    {
        std::ofstream{got, std::ios::trunc} << "[]";
        run_hub(files.fetch_file("org/model", "config.json"));
        CHECK(server.hub.seen().back().header("if-none-match").empty());
    }
}

TEST_CASE("hub: a commit whose files are gone is asked for once more")
{
    fake_hub server;
    server.add("config.json", "{}");
    const std::string dead(40, 'd');
    const bool always = GENERATE(false, true);
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/resolve/" + dead) != std::string::npos) {
            peer.respond(404, "X-Error-Code: EntryNotFound\r\nX-Repo-Commit: " + dead + "\r\n");
            return true;
        }
        if (asked.path().find("/revision/") == std::string::npos) return false;
        if (!always && asked.n_before > 0) return false;
        peer.respond(200, "", R"({"sha":")" + dead + "\"}");
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    if (always) {
        CHECK_THAT(
            failure(hub_errc::not_found, [&] { run_hub(files.fetch("org/model")); }),
            Contains("config.json"));
    } else {
        CHECK(run_hub(files.fetch("org/model")).commit() == fake_hub::commit);
        CHECK(read_all(dir / "cache/models--org--model/refs/main") == fake_hub::commit);
    }
    CHECK(server.hub.n_seen("/revision/") == 2);
}

TEST_CASE("hub: what the server asks to wait is waited once for all")
{
    fake_hub server;
    for (int i = 0; i < 6; ++i)
        server.add("file" + std::to_string(i), "content " + std::to_string(i));
    std::atomic<int> n_refused{0};
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/resolve/") == std::string::npos || n_refused > 0) return false;
        ++n_refused;
        peer.respond(429, "RateLimit: \"resolvers\";r=0;t=1\r\n");
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const auto begin = std::chrono::steady_clock::now();
    run_hub(files.fetch("org/model"));
    CHECK(std::chrono::steady_clock::now() - begin >= milliseconds{2000});

    SECTION("a day is too long, and the error says so")
    {
        server.on_hub([](const seen_request&, connection& peer) {
            peer.respond(429, "Retry-After: 86400\r\n");
            return true;
        });
        hub fresh{quick_options(server, dir).cache_dir(dir / "other")};
        CHECK_THAT(
            failure(hub_errc::unavailable, [&] { run_hub(fresh.fetch("org/model")); }),
            Contains("86400 seconds"));
    }
    SECTION("a cached model stays usable meanwhile")
    {
        server.on_hub([](const seen_request&, connection& peer) {
            peer.respond(429, "Retry-After: 86400\r\n");
            return true;
        });
        const fetched all = run_hub(files.fetch_files("org/model", {}, {}));
        CHECK(all.files().size() == 6);
        CHECK_THAT(all.stale(), Contains("too many requests"));
    }
    SECTION("and is not kept back by a pause of a minute")
    {
        server.on_hub([](const seen_request&, connection& peer) {
            peer.respond(429, "Retry-After: 60\r\n");
            return true;
        });
        const auto asked_again = std::chrono::steady_clock::now();
        CHECK_FALSE(run_hub(files.fetch_files("org/model", {}, {})).stale().empty());
        CHECK(std::chrono::steady_clock::now() - asked_again < std::chrono::seconds{30});
    }
}

TEST_CASE("hub: a partial file that is complete costs no byte, and one too long is cut")
{
    large_file test;
    const std::string body = test.body();
    const std::string name = test.server.name_of("model.bin");
    const fs::path blobs = "cache/models--org--model/blobs";
    const bool too_long = GENERATE(false, true);
    test.dir.write(
        (blobs / (name + ".0123abcd.incomplete")).string(), body + (too_long ? "xx" : ""));
    test.dir.write(
        (blobs / (name + ".0123abcd.state.incomplete")).string(),
        R"({"version":1,"etag":")" + name + R"(","size":)" + std::to_string(large) +
            R"(,"done":[[0,)" + std::to_string(large) + R"(]],"host":")" +
            fetching::writer_id::blocking_self().host +
            R"(","boot":"an earlier one","pid":1,"started":1,"heartbeat":1})");
    test.check(test.fetch());
    CHECK(test.server.cdn.n_seen() == 0);
}

TEST_CASE("hub: large files that the hub itself sends come in ranges too")
{
    fake_hub server;
    server.add("model.bin", noise(large), true);
    const std::string name = server.name_of("model.bin");
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/resolve/") == std::string::npos) return false;
        peer.serve(asked, server.content(name), fake_hub::facts(name));
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const snapshot got = run_hub(files.fetch("org/model"));
    CHECK(read_all(got.dir() / "model.bin") == server.content(name));
}

TEST_CASE("hub: a mirror that names no length, or a wrong one, gives the file all the same")
{
    fake_hub server;
    const bool is_large = GENERATE(false, true);
    const bool has_wrong_length = GENERATE(false, true);
    server.add("model.bin", noise(is_large ? 3'000'000 : 2166), true);
    const std::string name = server.name_of("model.bin");
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/resolve/") == std::string::npos) return false;
        if (has_wrong_length) {
            peer.respond(200, fake_hub::facts(name) + "X-Linked-Size: 0\r\n", server.content(name));
            return true;
        }
        peer.head(200, fake_hub::facts(name) + "Connection: close\r\n");
        peer.send(server.content(name));
        peer.close();
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    CHECK(read_all(run_hub(files.fetch_file("org/model", "model.bin"))) == server.content(name));
    CHECK(blobs_in(dir) == std::vector<std::string>{name});
}

TEST_CASE("hub: answers that come compressed are undone and checked")
{
    fake_hub server;
    server.add("config.json", "{}");
    const std::string name = server.name_of("config.json");
    // "{}" as gzip.
    const std::string gzip{
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00",
        22};
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (!asked.target.starts_with("/api/resolve-cache/")) return false;
        if (asked.n_before == 0) CHECK(asked.header("accept-encoding") == "identity");
        peer.respond(
            200,
            std::string{"X-Repo-Commit: "} + fake_hub::commit + "\r\nETag: W/\"" + name +
                "\"\r\nContent-Encoding: gzip\r\n",
            gzip);
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    CHECK(read_all(run_hub(files.fetch("org/model")).dir() / "config.json") == "{}");
    CHECK(blobs_in(dir) == std::vector<std::string>{name});
}

TEST_CASE("hub: a full disk is known before the first byte")
{
    large_file test;
    const std::string huge = "9007199254740000";
    const std::string name = test.server.name_of("model.bin");
    test.server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/tree/") == std::string::npos) return false;
        std::string listing = test.server.tree();
        const std::string size = std::to_string(large);
        for (std::size_t at = 0; (at = listing.find(size, at)) != std::string::npos;)
            listing.replace(at, size.size(), huge);
        peer.respond(200, "", listing);
        return true;
    });
    test.server.on_cdn([&](const seen_request&, connection& peer) {
        peer.respond(500, "");
        return true;
    });
    hub files{quick_options(test.server, test.dir).verify_hits(hit_check::size)};
    // The hub's own headers say what is to be allocated.
    test.server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/resolve/") == std::string::npos) return false;
        peer.respond(
            302,
            std::string{"X-Repo-Commit: "} + fake_hub::commit + "\r\nX-Linked-Etag: \"" + name +
                "\"\r\nX-Linked-Size: " + huge + "\r\nLocation: " + test.server.cdn.url() +
                "/cdn/" + name + "\r\n");
        return true;
    });
    CHECK_THAT(
        failure(hub_errc::io_failed, [&] { run_hub(files.fetch_file("org/model", "model.bin")); }),
        Contains("no room for"));
    CHECK(test.server.cdn.n_seen() == 0);
    CHECK(blobs_in(test.dir).empty());
}

}  // namespace modelpool
