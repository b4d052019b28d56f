#include <modelpool/hub/hub.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <string>

#include "fake_hub.hpp"
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

std::string text_of(const std::vector<std::byte>& bytes)
{
    std::string text;
    for (const std::byte one : bytes)
        text += static_cast<char>(one);
    return text;
}

bool has_token(const seen_request& asked)
{
    return asked.header("authorization") == "Bearer hf_secret";
}

}  // namespace

TEST_CASE("hub token: it goes to the hub at every hop, and to nobody else")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.add("model.bin", noise(2'000'000), true);
    server.on_hub([](const seen_request& asked, connection& peer) {
        if (has_token(asked)) return false;
        peer.respond(401, "");
        return true;
    });
    server.on_cdn([](const seen_request& asked, connection& peer) {
        if (asked.header("authorization").empty()) return false;
        peer.respond(400, "", "only one auth mechanism allowed");
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir).token("hf_secret")};
    CHECK(run_hub(files.fetch("org/model")).files().size() == 2);
    hub anonymous{quick_options(server, dir).cache_dir(dir / "other")};
    CHECK_THAT(
        failure(hub_errc::not_found, [&] { run_hub(anonymous.fetch("org/model")); }),
        Contains("needs a token"));
}

TEST_CASE("hub token: another port of the same host is another server")
{
    fake_hub server;
    server.add("model.bin", noise(3'000), true);
    const std::string name = server.name_of("model.bin");
    std::atomic<int> n_leaks{0};
    fault_server other{[&](const seen_request& asked, connection& peer) {
        if (!asked.header("authorization").empty()) ++n_leaks;
        peer.serve(asked, server.content(name), fake_hub::facts("0badc0de"));
    }};
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/resolve/") == std::string::npos) return false;
        peer.respond(302, server.linked_facts(name) + "Location: " + other.url() + "/x\r\n");
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir).token("hf_secret")};
    run_hub(files.fetch_file("org/model", "model.bin"));
    CHECK(n_leaks == 0);
    CHECK(blobs_in(dir) == std::vector<std::string>{name});
}

TEST_CASE("hub token: one that is no longer valid does not hide what is public")
{
    fake_hub server;
    server.add("config.json", "{}");
    server.on_hub([](const seen_request& asked, connection& peer) {
        if (asked.header("authorization").empty()) return false;
        peer.respond(401, "", R"({"error":"Invalid credentials in Authorization header"})");
        return true;
    });
    const temp_dir dir;
    std::atomic<int> n_warnings{0};
    hub files{
        quick_options(server, dir).token("hf_old").log([&](log_level level, std::string_view line) {
            CHECK(line.find("hf_old") == std::string_view::npos);
            if (level == log_level::warning) ++n_warnings;
        })};
    CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
    CHECK(n_warnings > 0);
}

TEST_CASE("hub trust: names from the server do not lead out of the cache")
{
    fake_hub server;
    server.add("config.json", "{}");
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const std::string headers = GENERATE(
        std::string{"X-Repo-Commit: ../../..\r\nETag: \"abc\"\r\n"},
        std::string{"X-Repo-Commit: "} + fake_hub::commit + "\r\nETag: \"../../../x\"\r\n");
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/resolve/") == std::string::npos) return false;
        peer.respond(200, headers, "evil");
        return true;
    });
    failure(hub_errc::corrupt, [&] { run_hub(files.fetch_file("org/model", "config.json")); });
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/tree/") == std::string::npos) return false;
        peer.respond(200, "", R"([{"type":"file","path":"../../x","size":1,"oid":""}])");
        return true;
    });
    failure(hub_errc::corrupt, [&] { run_hub(files.fetch("org/model")); });
    CHECK_FALSE(fs::exists(dir / "x"));
    CHECK_FALSE(fs::exists(dir / "cache/x"));
    CHECK(blobs_in(dir).empty());
}

TEST_CASE("hub trust: a listing of several pages is read, but not from another server")
{
    fake_hub server;
    for (int i = 0; i < 30; ++i)
        server.add("f" + std::to_string(i), std::to_string(i));
    std::string elsewhere;
    server.on_hub([&](const seen_request& asked, connection& peer) {
        if (asked.path().find("/tree/") == std::string::npos) return false;
        const std::string all = server.tree();
        const std::size_t half = all.find("},{", all.size() / 2) + 1;
        if (asked.target.find("cursor") != std::string::npos) {
            peer.respond(200, "Link: <a,b>; rel=\"prev\"\r\n", "[" + all.substr(half + 1));
        } else {
            const std::string next =
                elsewhere.empty() ? server.hub.url() + asked.target : elsewhere + "/x?y";
            peer.respond(
                200,
                "Link: <http://x/?a,b>; rel=\"first\", <" + next + "&cursor=1>; rel=\"next\"\r\n",
                all.substr(0, half) + "]");
        }
        return true;
    });
    const temp_dir dir;
    hub files{quick_options(server, dir).token("hf_secret")};
    SECTION("two pages")
    {
        CHECK(run_hub(files.fetch("org/model")).files().size() == 30);
    }
    SECTION("a page on another server")
    {
        elsewhere = server.cdn.url();
        CHECK_THAT(
            failure(hub_errc::corrupt, [&] { run_hub(files.fetch("org/model")); }),
            Contains("another server"));
        CHECK(server.cdn.n_seen() == 0);
    }
}

TEST_CASE("hub trust: names with odd characters make the round trip")
{
    fake_hub server;
    const std::vector<std::string> odd{
        "[artist] name^|.png", "a/to?/awful?filename%you:should,never.give", std::string(250, 'n')};
    for (const std::string& path : odd)
        server.add(path, "of " + path);
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const snapshot got = run_hub(files.fetch("org/model"));
    for (const std::string& path : odd)
        CHECK(read_all(got.dir() / path) == "of " + path);
}

TEST_CASE("hub trust: an endpoint may have a path of its own")
{
    fake_hub server;
    server.add("config.json", "{}");
    fault_server proxy{[&](const seen_request& asked, connection& peer) {
        seen_request inner = asked;
        REQUIRE(inner.target.starts_with("/hf/"));
        inner.target.erase(0, 3);
        if (inner.path().find("/resolve/") == std::string::npos) return server.answer(inner, peer);
        peer.respond(200, fake_hub::facts(server.name_of("config.json")), "{}");
    }};
    const temp_dir dir;
    hub files{quick_options(server, dir).endpoint(proxy.url() + "/hf/")};
    CHECK(run_hub(files.fetch("org/model")).files().size() == 1);
}

TEST_CASE("hub trust: a proxy that refuses is an error, and the cache does not hide it")
{
    fake_hub server;
    server.add("config.json", "{}");
    const temp_dir dir;
    {
        hub files{quick_options(server, dir)};
        run_hub(files.fetch("org/model"));
    }
    fault_server proxy{[](const seen_request&, connection& peer) { peer.respond(407, ""); }};
    hub_options options = quick_options(server, dir).http_proxy(proxy.url());
    hub files{options};
    CHECK_THAT(
        failure(hub_errc::unavailable, [&] { run_hub(files.fetch("org/model")); }),
        Contains("proxy"));
    CHECK(proxy.n_seen() == 1);
    hub direct{options.no_proxy("127.0.0.1")};
    CHECK(run_hub(direct.fetch("org/model")).files().size() == 1);
}

TEST_CASE("hub get: a URL is downloaded within its limits")
{
    fake_hub server;
    fault_server web{[&](const seen_request& asked, connection& peer) {
        if (asked.path() == "/image") return peer.respond(200, "", "bytes");
        if (asked.path() == "/large") return peer.respond(200, "", noise(5000));
        if (asked.path() == "/endless") {
            peer.head(200, "");
            while (peer.send("xxxxxxxxxxxxxxxx")) {
            }
            return peer.close();
        }
        if (asked.path() == "/slow") {
            peer.hold(milliseconds{3000});
            return peer.close();
        }
        if (asked.path() == "/redirect") return peer.respond(302, "Location: /image\r\n");
        if (asked.path() == "/loop") return peer.respond(302, "Location: /loop\r\n");
        if (asked.path() == "/file") return peer.respond(302, "Location: file:///etc/passwd\r\n");
        if (asked.path() == "/denied") return peer.respond(403, "");
        if (asked.path() == "/broken") return peer.respond(500, "");
        peer.respond(404, "");
    }};
    const temp_dir dir;
    hub files{quick_options(server, dir).token("hf_secret")};
    const auto get = [&](const std::string& url, url_limits limits) {
        return text_of(run_hub(files.get(url, limits.allow_private(true))));
    };
    CHECK(get(web.url() + "/image", {}) == "bytes");
    CHECK(get(web.url() + "/redirect", {}) == "bytes");
    CHECK(web.seen()[0].header("authorization").empty());
    failure(hub_errc::unavailable, [&] {
        get(web.url() + "/redirect", url_limits{}.max_redirects(0));
    });
    failure(hub_errc::unavailable, [&] { get(web.url() + "/loop", {}); });
    CHECK(web.n_seen("/loop") == 6);
    failure(hub_errc::unavailable, [&] { get(web.url() + "/file", {}); });
    failure(hub_errc::corrupt, [&] { get(web.url() + "/large", url_limits{}.max_bytes(4999)); });
    failure(hub_errc::corrupt, [&] { get(web.url() + "/endless", url_limits{}.max_bytes(4999)); });
    failure(errc::timed_out, [&] {
        get(web.url() + "/slow", url_limits{}.timeout(milliseconds{100}));
    });
    failure(hub_errc::not_found, [&] { get(web.url() + "/none", {}); });
    failure(hub_errc::denied, [&] { get(web.url() + "/denied", {}); });
    failure(hub_errc::unavailable, [&] { get(web.url() + "/broken", {}); });
    failure(errc::invalid_argument, [&] { get("file:///etc/passwd", {}); });
    failure(errc::invalid_argument, [&] { get("no url", {}); });
}

TEST_CASE("hub get: addresses that are not public are refused when they are connected to")
{
    fake_hub server;
    const temp_dir dir;
    hub files{quick_options(server, dir)};
    const std::string port = ":" + std::to_string(server.hub.port());
    // A connection that stands open from a call that was allowed is not used.
    failure(hub_errc::not_found, [&] {
        run_hub(files.get(server.hub.url() + "/x", url_limits{}.allow_private(true)));
    });
    server.hub.forget();
    for (const std::string& host :
         {std::string{"127.0.0.1"},
          std::string{"localhost"},
          std::string{"[::1]"},
          std::string{"[::ffff:127.0.0.1]"},
          std::string{"0.0.0.0"},
          std::string{"2130706433"},
          std::string{"0x7f.1"}}) {
        INFO(host);
        CHECK_THAT(
            failure(hub_errc::denied, [&] { run_hub(files.get("http://" + host + port, {})); }),
            Contains("not public"));
    }
    CHECK(server.hub.n_seen() == 0);
}

}  // namespace modelpool
