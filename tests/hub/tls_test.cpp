#include <modelpool/hub/hub.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <optional>
#include <string>

#include "fake_hub.hpp"
#include "support/failure.hpp"
#include "tls_identity.hpp"

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using testing::connection;
using testing::failure;
using testing::fake_hub;
using testing::fault_server;
using testing::quick_options;
using testing::read_all;
using testing::run_hub;
using testing::seen_request;
using testing::temp_dir;
using testing::tls_identity;

}  // namespace

TEST_CASE("hub tls: a certificate is checked against the files that are to be trusted")
{
    fake_hub server;
    server.add("config.json", "{}");
    const tls_identity identity;
    fault_server safe{
        [&](const seen_request& asked, connection& peer) { server.answer(asked, peer); },
        identity.context()};
    const temp_dir dir;
    const std::string ca = dir.write("ca.pem", identity.pem()).string();
    hub_options options = quick_options(server, dir).endpoint(safe.url());

    SECTION("an unknown one is refused at once, and not tried again")
    {
        hub files{options};
        CHECK_THAT(
            failure(hub_errc::unavailable, [&] { run_hub(files.fetch("org/model")); }),
            Contains("certificate") && !Contains("gave up after"));
        CHECK(safe.n_seen() == 0);
    }
    SECTION("each variable that names it will do")
    {
        const std::string name = GENERATE("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE");
        const hub_options read = hub_options::from_environment(
            [&](const std::string& asked) -> std::optional<std::string> {
                return asked == name ? std::optional{ca} : std::nullopt;
            });
        hub files{options.ca_file(read.ca_file())};
        const snapshot got = run_hub(files.fetch("org/model"));
        CHECK(read_all(got.dir() / "config.json") == "{}");
    }
}

TEST_CASE("hub tls: a redirect that gives encryption up is refused, with the token or without")
{
    fake_hub server;
    server.add("config.json", "{}");
    std::atomic<int> n_plain{0};
    fault_server plain{[&](const seen_request&, connection& peer) {
        ++n_plain;
        peer.respond(200, "", "{}");
    }};
    const tls_identity identity;
    fault_server safe{
        [&](const seen_request& asked, connection& peer) {
            if (asked.path().find("/resolve/") == std::string::npos)
                return server.answer(asked, peer);
            std::string headers{"X-Repo-Commit: "};
            headers.append(fake_hub::commit).append("\r\nLocation: ");
            peer.respond(302, headers.append(plain.url()).append("/x\r\n"));
        },
        identity.context()};
    const temp_dir dir;
    hub files{quick_options(server, dir)
                  .endpoint(safe.url())
                  .token("hf_secret")
                  .ca_file(dir.write("ca.pem", identity.pem()))};
    CHECK_THAT(
        failure(hub_errc::denied, [&] { run_hub(files.fetch("org/model")); }),
        Contains("from https to http"));
    failure(hub_errc::denied, [&] {
        run_hub(files.get(safe.url() + "/org/model/resolve/x", url_limits{}.allow_private(true)));
    });
    CHECK(n_plain == 0);
}

}  // namespace modelpool
