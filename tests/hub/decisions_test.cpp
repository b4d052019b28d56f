#include <catch2/catch.hpp>

#include <map>
#include <string>
#include <vector>

#include "hub/address_rules.hpp"
#include "hub/api_json.hpp"
#include "hub/cache_layout.hpp"
#include "hub/digest.hpp"
#include "hub/http_rules.hpp"
#include "hub/journal.hpp"
#include "hub/meter.hpp"
#include "hub/path_rules.hpp"
#include "hub/patterns.hpp"
#include "hub/range_plan.hpp"
#include "hub/retry_plan.hpp"
#include "hub/shards.hpp"
#include "hub/transfer.hpp"
#include "hub/url.hpp"
#include "support/failure.hpp"

namespace modelpool::fetching {
namespace {

using Catch::Matchers::Contains;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::failure;
using names = std::vector<std::string>;

response_head head_of(int status, const std::vector<std::string>& lines)
{
    response_head head;
    head.status = status;
    for (const std::string& line : lines)
        head.add(line);
    return head;
}

constexpr const char* commit = "0123456789abcdef0123456789abcdef01234567";

}  // namespace

TEST_CASE("hub urls: revisions are one segment, and paths keep their slashes")
{
    const hub_urls urls{"https://huggingface.co"};
    const auto file = [&](const char* revision, const char* path) {
        return urls.file(repository_kind::model, "org/m", revision, path);
    };
    CHECK(
        file("main", "subfolder/to?/awful?filename%you:should,never.give") ==
        "https://huggingface.co/org/m/resolve/main/"
        "subfolder/to%3F/awful%3Ffilename%25you%3Ashould%2Cnever.give");
    CHECK(
        file("refs/pr/1", "[a] b^|.png") ==
        "https://huggingface.co/org/m/resolve/refs%2Fpr%2F1/%5Ba%5D%20b%5E%7C.png");
    const std::map<std::string, std::string> revisions{
        {"feature/x", "feature%2Fx"},
        {"fix#123", "fix%23123"},
        {"v1.0+beta", "v1.0%2Bbeta"},
        {"a b", "a%20b"},
        {"100%done", "100%25done"},
        {"\xD0\xB2", "%D0%B2"}};
    for (const auto& [revision, encoded] : revisions)
        CHECK(percent_encode(revision, false) == encoded);
    const hub_urls mirror{"http://127.0.0.1:1/hf"};
    CHECK(
        mirror.file(repository_kind::dataset, "d", "main", "a") ==
        "http://127.0.0.1:1/hf/datasets/d/resolve/main/a");
    CHECK(
        mirror.tree(repository_kind::space, "o/s", "c") ==
        "http://127.0.0.1:1/hf/api/spaces/o/s/tree/c?recursive=true&expand=false");
}

TEST_CASE("hub urls: redirects are resolved by RFC 3986, with their queries")
{
    const std::string base = "https://huggingface.co/org/m/resolve/main/a?x=1";
    CHECK(join_url(base, "/api/b?etag=%22c%22") == "https://huggingface.co/api/b?etag=%22c%22");
    CHECK(join_url(base, "//cdn.hf.co/x#part") == "https://cdn.hf.co/x");
    CHECK(join_url(base, "b c") == "https://huggingface.co/org/m/resolve/main/b%20c");
    CHECK(join_url(base, "ftp://a/b").empty());
    CHECK(join_url(base, "file:///etc/passwd").empty());
    CHECK(origin_of("https://a.b/c") == "https://a.b:443");
    failure(errc::invalid_argument, [] { origin_of("a.b/c d"); });
}

TEST_CASE("hub urls: only the hub's own origin is trusted with a token")
{
    CHECK(is_hub_origin("https://huggingface.co", "https://hf.co/x"));
    CHECK(is_hub_origin("http://127.0.0.1:80/hf", "http://127.0.0.1/x"));
    CHECK_FALSE(is_hub_origin("http://127.0.0.1:80", "http://127.0.0.1:81/x"));
    CHECK_FALSE(is_hub_origin("https://huggingface.co", "http://huggingface.co/x"));
    CHECK_FALSE(is_hub_origin("https://huggingface.co", "https://huggingface.co:444/x"));
    CHECK_FALSE(is_hub_origin("https://mirror", "https://huggingface.co/x"));
    CHECK(is_downgrade("https://a", "http://a"));
}

TEST_CASE("hub path rules: ids, revisions, commits and tags of other forms are refused")
{
    for (const char* good : {"123", "foo", "foo/bar", "Foo-BAR_foo.bar123"})
        CHECK(id_fault(good).empty());
    for (const std::string bad :
         {"datasets/foo/bar", ".repo_id", "foo--bar", "foo.git", "other..repo", "a/", "/a", "a b"})
        CHECK_FALSE(id_fault(bad).empty());
    CHECK(id_fault(std::string(96, 'a')).empty());
    CHECK_FALSE(id_fault(std::string(97, 'a')).empty());
    for (const char* good : {"main", "refs/pr/1", "v1.0+beta", "fix#123", "100%done"})
        CHECK(revision_fault(good).empty());
    for (const std::string bad :
         {"", "main..x", "/a", "a/", "a//b", "a\\b", "c:d", "../a", ".a", "x.lock", "a\nb"})
        CHECK_FALSE(revision_fault(bad).empty());
    CHECK(is_commit(commit));
    CHECK_FALSE(is_commit("../../.."));
    CHECK_FALSE(is_commit("0123456789ABCDEF0123456789abcdef01234567"));
    CHECK(is_blob_name("mirror-tag.1"));
    for (const char* bad : {"", "../../../x", "a/b", ".a", "a..b", "x.incomplete"})
        CHECK_FALSE(is_blob_name(bad));
}

TEST_CASE("hub path rules: file names that leave the repository are refused")
{
    for (const char* bad :
         {"../../../etc/passwd",
          "folder/../../../etc/passwd",
          "..\\..\\Windows\\evil",
          "folder\\..\\..\\evil",
          "/etc/passwd",
          "C:\\evil",
          "C:/evil",
          "D:relative\\evil",
          "\\\\host\\share\\evil",
          "\\evil",
          "folder/C:\\evil",
          "folder/\\\\host\\evil",
          "folder/\\evil",
          "",
          "a//b",
          "./a"}) {
        INFO(bad);
        CHECK_FALSE(file_fault(bad).empty());
    }
    for (const char* good : {"file.txt", "path/in/repo.txt", "weird but valid/name.txt"})
        CHECK(file_fault(good).empty());
    CHECK(file_fault(std::string(255, 'a')).empty());
    CHECK_FALSE(file_fault(std::string(256, 'a')).empty());
    CHECK_FALSE(file_fault(std::string{"a\0b", 3}).empty());
}

TEST_CASE("hub patterns: they mean what they mean in Python's client")
{
    const auto matches = [](const file_selection& selection, const std::string& path) {
        return patterns{selection}.matches(path);
    };
    const auto include = [](const char* pattern) { return file_selection{}.include(pattern); };
    CHECK(matches({}, ".hidden"));
    CHECK(matches(include("*.json"), "a/b.json"));
    CHECK(matches(include("*"), ".gitattributes"));
    CHECK(matches(include("folder/"), "folder/a/b"));
    CHECK_FALSE(matches(include("folder/"), "folder2/a"));
    CHECK_FALSE(matches(include("*.JSON"), "a.json"));
    CHECK(matches(include("folder\\*.json"), "folder/a.json"));
    CHECK(matches(include("[ab].txt"), "a.txt"));
    CHECK_FALSE(matches(include("[!ab].txt"), "a.txt"));
    CHECK(matches(include("[!ab].txt"), "c.txt"));
    CHECK(matches(include("?.txt"), "a.txt"));
    CHECK_FALSE(matches(include("{a,b}"), "a"));
    CHECK(matches(include("[artist] name.png"), "[artist] name.png"));
    CHECK_FALSE(matches(include("*.json").exclude("a*"), "a.json"));
    failure(errc::invalid_argument, [&] { patterns{include("a[b")}; });
    failure(errc::invalid_argument, [&] { patterns{include("")}; });
    CHECK(patterns{include("a.json").include("b")}.plain_names() == names{"a.json", "b"});
    CHECK(patterns{include("a.json").include("b*")}.plain_names().empty());
}

TEST_CASE("hub shards: an index names its files beside it, and a split GGUF all its parts")
{
    CHECK(
        index_files(
            "x/model.safetensors.index.json", R"({"weight_map":{"a":"2","b":"1","c":"2"}})") ==
        names{"x/1", "x/2"});
    for (const char* bad :
         {"",
          "[]",
          R"({"weight_map":1})",
          R"({"weight_map":{"a":1}})",
          R"({"weight_map":{"a":"../x"}})"})
        failure(hub_errc::corrupt, [&] { index_files("i.json", bad); });
    const names all{
        "a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "b.gguf", "c-00001-of-00002.gguf"};
    CHECK(
        with_gguf_parts({"a-00002-of-00002.gguf", "b.gguf"}, all) == names{all[0], all[1], all[2]});
    CHECK_THAT(
        failure(hub_errc::not_found, [&] { with_gguf_parts({all[3]}, all); }),
        Contains("c-00002-of-00002.gguf is missing"));
}

TEST_CASE("hub layout: folders and links are those of Python's client")
{
    CHECK(folder_of(repository_kind::model, "org/name") == "models--org--name");
    CHECK(folder_of(repository_kind::dataset, "gpt2") == "datasets--gpt2");
    CHECK(repo_of("models--org--name")->id == "org/name");
    CHECK(repo_of("spaces--a")->kind == repository_kind::space);
    CHECK_FALSE(repo_of("blobs"));
    CHECK_FALSE(repo_of(".locks"));
    CHECK_FALSE(repo_of("models--a--b--c"));
    CHECK(repo_layout::link_text("a.bin", "x") == "../../blobs/x");
    CHECK(repo_layout::link_text("a/b.bin", "x") == "../../../blobs/x");
    CHECK(journal_nonce("tag.0123abcd.state.incomplete", "tag") == "0123abcd");
    CHECK(journal_nonce("tag.0123abcX.state.incomplete", "tag").empty());
    CHECK(journal_nonce("tag.0123abcd.incomplete", "tag").empty());
}

TEST_CASE("hub digest: git's sha1 and sha256 of known texts")
{
    digest sha1 = digest::git_blob(13);
    sha1.update(std::string{"Hello, World!"});
    CHECK(sha1.finish() == "b45ef6fec89518d314f546fd6c3025367b721684");
    CHECK(digest::git_blob(0).finish() == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    CHECK(
        digest::sha256().finish() ==
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK_FALSE(digest::for_blob("mirror-tag", 1));
}

TEST_CASE("hub headers: tags lose their quotes and weakness")
{
    CHECK(plain_etag("\"abc\"") == "abc");
    CHECK(plain_etag("W/\"abc\"") == "abc");
    CHECK(plain_etag("abc") == "abc");
    CHECK(is_strong_etag("\"a\""));
    CHECK_FALSE(is_strong_etag("W/\"a\""));
}

TEST_CASE("hub headers: the facts of a file come from the headers that state them")
{
    const std::string has_commit = std::string{"X-Repo-Commit: "} + commit;
    const auto linked = read_facts(head_of(
        302,
        {has_commit,
         "ETag: \"x\"",
         "X-Linked-Etag: \"y\"",
         "X-Linked-Size: 818",
         "Content-Length: 341"}));
    CHECK(linked.etag == "y");
    CHECK(linked.size == 818);
    CHECK(linked.commit == commit);
    CHECK_FALSE(read_facts(head_of(307, {"Content-Length: 341"})).size);
    CHECK(read_facts(head_of(200, {"Content-Length: 5"})).size == 5);
    CHECK_FALSE(read_facts(head_of(200, {"Content-Length: 5", "Content-Encoding: gzip"})).size);
    CHECK_FALSE(read_facts(head_of(200, {"X-Linked-Size: many", "Content-Length: 5"})).size);
    CHECK(
        read_facts(head_of(206, {"Content-Range: bytes 0-0/77", "Content-Length: 1"})).size == 77);
    CHECK(read_facts(head_of(200, {"ETag: W/\"abc\""})).weak);
    failure(hub_errc::corrupt, [] { read_facts(head_of(200, {"ETag: \"../../../x\""})); });
    failure(hub_errc::corrupt, [] { read_facts(head_of(200, {"X-Repo-Commit: ../../.."})); });
}

TEST_CASE("hub headers: lengths and ranges of other forms are refused")
{
    CHECK(parse_length("0") == 0);
    for (const char* bad : {"", "-1", "1 ", "0x1", "9007199254740993", "99999999999999999999"})
        CHECK_FALSE(parse_length(bad));
    const auto range = parse_content_range("bytes 5-9/10");
    REQUIRE(range);
    CHECK(range->begin == 5);
    CHECK(range->end == 10);
    CHECK(range->total == 10);
    CHECK(parse_content_range("bytes */10")->unsatisfied);
    CHECK_FALSE(parse_content_range("bytes 0-1/*")->total);
    for (const char* bad :
         {"", "bytes", "bytes 9-5/10", "bytes 5-10/10", "bytes a-b/c", "items 1-2/3", "bytes 5/10"})
        CHECK_FALSE(parse_content_range(bad));
}

TEST_CASE("hub headers: the next page is found among several links")
{
    CHECK(
        link_target({"<https://a/x?b,c>; rel=\"prev\", <https://a/y?d,e>; rel=\"next\""}, "next") ==
        "https://a/y?d,e");
    CHECK(
        link_target({"<https://a/1>; rel=first", "<https://a/2>; rel=next"}, "next") ==
        "https://a/2");
    CHECK(link_target({"<https://a/1>; rel=\"last\""}, "next").empty());
    CHECK(link_target({"nonsense, <", "<a"}, "next").empty());
}

TEST_CASE("hub limits: what the server asks to wait is read from three headers")
{
    const auto limit = parse_rate_limit("\"resolvers\";r=0;t=12");
    REQUIRE(limit);
    CHECK(limit->bucket == "resolvers");
    CHECK(limit->reset == seconds{12});
    CHECK(parse_rate_limit("\"api\"; T=3 ; R=5")->n_left == 5);
    for (const char* bad : {"", "\"api\"", "\"api\";r=1", "\"api\";t=1", "\"api\";r=x;t=y"})
        CHECK_FALSE(parse_rate_limit(bad));
    const auto now = std::chrono::system_clock::from_time_t(784111777);  // 06 Nov 1994 08:49:37
    CHECK(parse_retry_after("120", now) == seconds{120});
    CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now) == seconds{10});
    CHECK(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now) == seconds{0});
    CHECK(*parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", now) > std::chrono::years{7000});
    CHECK_FALSE(parse_retry_after("soon", now));
    CHECK(
        server_wait(head_of(429, {"RateLimit: \"x\";r=0;t=2", "Retry-After: 9"}), now) ==
        seconds{3});
    CHECK(server_wait(head_of(429, {"RateLimit: \"x\";r=50;t=2"}), now) == std::nullopt);
    CHECK(server_wait(head_of(503, {"Retry-After: 9"}), now) == seconds{9});
    CHECK(server_wait(head_of(500, {"Retry-After: 9"}), now) == std::nullopt);
}

TEST_CASE("hub errors: a refusal is told by its code, its status and its text")
{
    const auto kind = [](int status, const std::vector<std::string>& lines, const char* body) {
        return classify(head_of(status, lines), body, "x").kind();
    };
    const std::string has_commit = std::string{"X-Repo-Commit: "} + commit;
    CHECK(kind(401, {}, "") == fault::repo_not_found);
    CHECK(kind(404, {"X-Error-Code: RepoNotFound"}, "") == fault::repo_not_found);
    CHECK(kind(404, {"X-Error-Code: RevisionNotFound"}, "") == fault::revision_not_found);
    CHECK(kind(404, {"X-Error-Code: EntryNotFound"}, "") == fault::entry_not_found);
    CHECK(kind(404, {has_commit}, "") == fault::entry_not_found);
    CHECK(kind(404, {}, "") == fault::not_a_hub);
    CHECK(kind(403, {"X-Error-Code: GatedRepo"}, "") == fault::gated);
    CHECK(
        kind(403, {"X-Error-Message: Access to this resource is disabled."}, "") ==
        fault::disabled);
    CHECK(
        kind(401, {}, R"({"error":"Invalid credentials in Authorization header"})") ==
        fault::bad_token);
    CHECK(kind(403, {}, "") == fault::forbidden);
    CHECK(kind(400, {}, "") == fault::bad_request);
    CHECK(kind(416, {}, "") == fault::bad_request);
    CHECK(kind(429, {}, "") == fault::rate_limited);
    for (const int status : {408, 425, 500, 502, 503, 504, 520, 524})
        CHECK(kind(status, {}, "") == fault::server);
    CHECK(kind(501, {}, "") == fault::bad_request);
}

TEST_CASE("hub errors: the sentence is put together from header and body, without markup")
{
    const auto text = [](const std::vector<std::string>& lines, const char* body) {
        return error_text(head_of(400, lines), body);
    };
    CHECK(text({"X-Error-Message: a"}, R"({"error":"a"})") == "a");
    CHECK(text({"X-Error-Message: a"}, R"({"error":["b","c"]})") == "a; b; c");
    CHECK(text({}, R"({"errors":[{"message":"d"}],"error_description":"e"})") == "d; e");
    CHECK(text({"Content-Type: text/html"}, "<p>login</p>").empty());
    CHECK(text({}, "<!DOCTYPE html><p>").empty());
    CHECK(text({}, "plain words") == "plain words");
    CHECK_THAT(
        classify(head_of(500, {"X-Request-Id: abc"}), "", "x").what(),
        Contains("status 500, request abc"));
}

TEST_CASE("hub retries: pauses grow within their bounds, progress forgives, the last one lists all")
{
    retry_plan::limits limits;
    limits.n_tries = 4;
    limits.shortest = milliseconds{100};
    limits.longest = milliseconds{1000};
    retry_plan plan{limits, [] { return 0.999; }};
    const hub_fault cut{fault::network, "cut"};
    const hub_fault busy{fault::server, "busy"};
    CHECK(plan.after(cut) == milliseconds{299});
    CHECK(plan.after(busy) == milliseconds{896});
    CHECK(plan.after(cut) == milliseconds{1000});
    CHECK_THAT(
        failure(hub_errc::unavailable, [&] { plan.after(cut); }),
        Contains("after 4 tries: cut | busy | cut"));
    plan.progress();
    CHECK(plan.after(cut) == milliseconds{299});
    retry_plan low{limits, [] { return 0.0; }};
    CHECK(low.after(cut) == milliseconds{100});
}

TEST_CASE("hub retries: the server's own pauses are kept, and are no failures")
{
    retry_plan::limits limits;
    limits.n_tries = 2;
    retry_plan plan{limits, [] { return 0.5; }};
    hub_fault busy{fault::rate_limited, "busy"};
    busy.wait = seconds{7};
    for (int i = 0; i < 10; ++i)
        CHECK(plan.after(busy) == milliseconds{7000});
    CHECK(plan.n_failures() == 0);
    busy.wait = seconds{86'400};
    CHECK_THAT(
        failure(hub_errc::unavailable, [&] { plan.after(busy); }), Contains("86400 seconds"));
    failure(hub_errc::denied, [&] { plan.after(hub_fault{fault::gated, "gated"}); });
}

TEST_CASE("hub ranges: pieces cover the file, front first, and the largest is shared at the end")
{
    const std::uint64_t mib = std::uint64_t{1} << 20U;
    range_plan plan{100 * mib, {{0, 10 * mib}, {5 * mib, 12 * mib}}};
    CHECK(plan.done_bytes() == 12 * mib);
    CHECK(plan.prefix_bytes() == 12 * mib);
    const auto first = plan.start();
    REQUIRE(first);
    CHECK(first->next == 12 * mib);
    CHECK(first->end == 20 * mib);
    for (int i = 0; i < 10; ++i)
        REQUIRE(plan.start());
    // All is under way: the next piece takes half of the largest one.
    const auto theft = plan.start();
    REQUIRE(theft);
    CHECK(theft->end - theft->next == 4 * mib);
    CHECK(plan.accept(theft->id, 100 * mib) == mib);
    CHECK(plan.accept(theft->id, 1000) == 1000);
    plan.wrote(theft->id, 4 * mib - 10);
    CHECK(plan.accept(theft->id, 100 * mib) == 10);
    plan.wrote(theft->id, 10);
    CHECK(plan.accept(theft->id, 100 * mib) == 0);
    CHECK(plan.find(theft->id)->done());
    plan.stop(theft->id);
    CHECK(plan.done_bytes() == 16 * mib);
    CHECK(plan.prefix_bytes() == 12 * mib);
}

TEST_CASE("hub ranges: bytes that a piece may write stay its own when another takes its rest over")
{
    const std::uint64_t mib = std::uint64_t{1} << 20U;
    range_plan plan{20 * mib, {}};
    while (plan.n_running() < 3)
        REQUIRE(plan.start());
    for (;;) {
        std::map<range_plan::piece_id, std::uint64_t> being_written;
        for (range_plan::piece_id id = 1; plan.find(id) != nullptr; ++id)
            being_written[id] = plan.accept(id, 100 * mib);
        if (!plan.start()) break;
        for (const auto& [id, n_bytes] : being_written)
            CHECK(plan.accept(id, 100 * mib) >= n_bytes);
    }
    CHECK(plan.n_running() > 8);
}

TEST_CASE("hub ranges: a small file is one piece, and what a lost piece lacks is a hole again")
{
    range_plan plan{1000, {}};
    const auto piece = plan.start();
    REQUIRE(piece);
    CHECK(piece->end == 1000);
    CHECK_FALSE(plan.start());
    plan.wrote(piece->id, 300);
    plan.stop(piece->id);
    const auto rest = plan.start_rest();
    REQUIRE(rest);
    CHECK(rest->next == 300);
    plan.wrote(rest->id, 700);
    CHECK(plan.complete());
    plan.stop(rest->id);
    CHECK_FALSE(plan.start());
    CHECK(plan.done() == std::vector<byte_range>{{0, 1000}});
    plan.restart();
    CHECK(plan.done_bytes() == 0);
    range_plan larger{std::uint64_t{12} << 20U, {}};
    CHECK(larger.start());
    CHECK_FALSE(larger.start());
    CHECK(range_plan(10, {{5, 99}}).done() == std::vector<byte_range>{{5, 10}});
}

TEST_CASE(
    "hub streams: twice as many while each brings as much, then one more, one less after trouble")
{
    stream_control control{12};
    CHECK(control.n_wanted() == 2);
    control.second(100, 2);
    CHECK(control.n_wanted() == 4);
    control.second(90, 3);  // not all of them ran
    CHECK(control.n_wanted() == 4);
    control.second(190, 4);
    CHECK(control.n_wanted() == 8);
    control.second(300, 8);
    CHECK(control.n_wanted() == 9);
    control.second(302, 9);
    CHECK(control.n_wanted() == 8);
    control.second(900, 8);
    CHECK(control.n_wanted() == 8);
    control.trouble();
    CHECK(control.n_wanted() == 8);
    control.trouble();
    CHECK(control.n_wanted() == 7);
    for (int i = 0; i < 10; ++i)
        control.overloaded();
    CHECK(control.n_wanted() == 1);
}

TEST_CASE("hub streams: where all share one narrow way, the first two stay")
{
    stream_control narrow{16};
    narrow.second(100, 2);
    narrow.second(101, 4);
    CHECK(narrow.n_wanted() == 2);
    stream_control wide{16};
    for (const std::size_t n : {2U, 4U, 8U, 16U})
        wide.second(n * 20, n);
    CHECK(wide.n_wanted() == 16);
    stream_control single{1};
    single.second(100, 1);
    CHECK(single.n_wanted() == 1);
}

TEST_CASE("hub stalls: silence and a trickle are given up, a slow connection is not")
{
    const stall_watch::time_point begin{};
    stall_watch silent{begin, seconds{10}, seconds{30}};
    CHECK_FALSE(silent.stalled(begin + seconds{9}, 0));
    CHECK(silent.stalled(begin + seconds{10}, 0));
    stall_watch trickle{begin, seconds{10}, seconds{30}};
    for (int second = 1; second < 30; ++second)
        CHECK_FALSE(trickle.stalled(begin + seconds{second}, static_cast<std::uint64_t>(second)));
    CHECK(trickle.stalled(begin + seconds{30}, 30));
    stall_watch slow{begin, seconds{10}, seconds{30}};
    for (int second = 1; second < 100; ++second)
        CHECK_FALSE(
            slow.stalled(begin + seconds{second}, static_cast<std::uint64_t>(second) * 2048));
}

TEST_CASE("hub journal: it comes back as it was written, and other texts are nothing")
{
    journal one;
    one.etag = "tag";
    one.size = 100;
    one.done = {{0, 10}, {50, 60}};
    one.writer = writer_id::blocking_self();
    one.heartbeat = std::chrono::system_clock::from_time_t(1'700'000'000);
    const auto back = read_journal(write_journal(one));
    REQUIRE(back);
    CHECK(back->done == one.done);
    CHECK(back->writer == one.writer);
    CHECK(back->heartbeat == one.heartbeat);
    CHECK(blocking_state_of(one.writer) == writer_state::alive);
    one.writer.started += 1;
    CHECK(blocking_state_of(one.writer) == writer_state::dead);
    one.writer.host += "x";
    CHECK(blocking_state_of(one.writer) == writer_state::unknown);
    one.done = {{0, 101}};
    CHECK_FALSE(read_journal(write_journal(one)));
    for (const char* bad : {"", "{}", "[]", R"({"version":2})"})
        CHECK_FALSE(read_journal(bad));
}

TEST_CASE("hub journal: a partial file is taken over from the dead, copied from the silent")
{
    journal one;
    one.etag = "tag";
    one.size = 100;
    one.heartbeat = std::chrono::system_clock::from_time_t(1'700'000'000);
    const auto soon = one.heartbeat + seconds{5};
    const auto late = one.heartbeat + seconds{61};
    const auto decide = [&](const char* tag, std::uint64_t size, writer_state writer, auto when) {
        return decide_adoption(one, tag, size, writer, when);
    };
    CHECK(decide("tag", 100, writer_state::dead, soon) == adoption::take_over);
    CHECK(decide("tag", 100, writer_state::alive, late) == adoption::leave);
    CHECK(decide("tag", 100, writer_state::unknown, soon) == adoption::leave);
    CHECK(decide("tag", 100, writer_state::unknown, late) == adoption::copy);
    CHECK(decide("other", 100, writer_state::dead, soon) == adoption::leave);
    CHECK(decide("tag", 101, writer_state::dead, soon) == adoption::leave);
}

TEST_CASE(
    "hub listing: pages are read, the cached form is Python's, and hidden hashes are not kept")
{
    const std::string sha1(40, 'a');
    const std::string sha256(64, 'b');
    tree all;
    read_tree_page(
        R"([{"type":"directory","path":"d"},{"type":"file","path":"d/a","size":3,"oid":")" + sha1 +
            R"("},{"type":"file","path":"b","size":9,"oid":")" + sha1 + R"(","lfs":{"oid":")" +
            sha256 + R"(","size":9,"pointerSize":1}}])",
        all);
    REQUIRE(all.size() == 2);
    CHECK(all["d/a"].blob() == sha1);
    CHECK(all["b"].blob() == sha256);
    CHECK(is_keepable(all));
    const std::string text = write_tree_cache(all);
    CHECK(read_tree_cache(text) == all);
    CHECK(text.find("\"files\": {\n  \"b\"") != std::string::npos);
    CHECK_THAT(text, Contains("\"lfs_sha256\"") && Contains("\"format_version\": 1"));
    read_tree_page(
        R"([{"type":"file","path":"c","size":1,"oid":")" + sha1 + R"(","lfs":{"oid":")" +
            std::string(64, '*') + R"(","size":1}}])",
        all);
    CHECK(all["c"].blob().empty());
    CHECK_FALSE(is_keepable(all));
    for (const char* bad :
         {"",
          "{}",
          R"([1])",
          R"([{"type":"file","path":"../x","size":1}])",
          R"([{"type":"file","path":"x"}])"})
        failure(hub_errc::corrupt, [&] { read_tree_page(bad, all); });
    for (const char* bad :
         {"",
          "[]",
          R"({"format_version":2,"files":{}})",
          R"({"format_version":1,"files":{"../a":{"size":1}}})"})
        CHECK_FALSE(read_tree_cache(bad));
    CHECK(read_commit(std::string{R"({"sha":")"} + commit + "\"}") == commit);
    failure(hub_errc::corrupt, [] { read_commit(R"({"sha":"main"})"); });
}

TEST_CASE("hub addresses: only those of the public internet count as public")
{
    using four = std::array<std::uint8_t, 4>;
    for (const four good :
         {four{8, 8, 8, 8}, four{172, 32, 0, 1}, four{100, 128, 0, 1}, four{192, 169, 0, 1}})
        CHECK(is_public_v4(good));
    for (const four bad :
         {four{0, 0, 0, 0},
          four{10, 1, 2, 3},
          four{100, 64, 0, 1},
          four{127, 0, 0, 1},
          four{169, 254, 169, 254},
          four{172, 16, 0, 1},
          four{172, 31, 255, 255},
          four{192, 168, 1, 1},
          four{198, 18, 0, 1},
          four{224, 0, 0, 1},
          four{255, 255, 255, 255}})
        CHECK_FALSE(is_public_v4(bad));
    using six = std::array<std::uint8_t, 16>;
    CHECK(is_public_v6(six{0x2A, 0, 1}));
    const six mapped_loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 127, 0, 0, 1};
    const six mapped_public{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 8, 8, 8, 8};
    const six nat64{0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1};
    const six six_to_four{0x20, 0x02, 192, 168, 0, 1};
    CHECK(is_public_v6(mapped_public));
    for (const six& bad :
         {six{},
          six{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
          six{0xFE, 0x80},
          six{0xFC},
          six{0xFD, 1},
          six{0xFF, 2},
          six{0x20, 0x01, 0x0D, 0xB8},
          mapped_loopback,
          nat64,
          six_to_four})
        CHECK_FALSE(is_public_v6(bad));
}

TEST_CASE("hub environment: the rules are Python's, and an empty variable is none")
{
    using variables = std::map<std::string, std::string>;
    const auto read = [](const variables& all) {
        return hub_options::from_environment(
            [&all](const std::string& name) -> std::optional<std::string> {
                const auto place = all.find(name);
                return place == all.end() ? std::nullopt : std::optional{place->second};
            });
    };
    const auto cache = [&](variables all) {
        all.emplace("HOME", "/nowhere/me");
        return read(all).cache_dir().string();
    };
    CHECK(cache({}) == "/nowhere/me/.cache/huggingface/hub");
    CHECK(cache({{"XDG_CACHE_HOME", "/x"}}) == "/x/huggingface/hub");
    CHECK(cache({{"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "~/h"}}) == "/nowhere/me/h/hub");
    CHECK(
        cache({{"HF_HUB_CACHE", "$BASE/${SUB}/$NOT"}, {"BASE", "/b"}, {"SUB", "s"}}) ==
        "/b/s/$NOT");
    CHECK(cache({{"HUGGINGFACE_HUB_CACHE", "/old"}}) == "/old");
    CHECK(cache({{"HF_HOME", ""}, {"HF_HUB_CACHE", ""}}) == "/nowhere/me/.cache/huggingface/hub");
    CHECK(read({{"HF_ENDPOINT", "http://m/hf/"}}).endpoint() == "http://m/hf");
    CHECK(read({{"HF_TOKEN", "  hf_x\r\n"}}).token() == "hf_x");
    CHECK(read({{"HF_TOKEN", " "}, {"HUGGING_FACE_HUB_TOKEN", "hf_y"}}).token() == "hf_y");
    CHECK(read({{"HF_TOKEN", "hf_x"}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}}).token().empty());
    failure(errc::invalid_argument, [&] { read({{"HF_TOKEN", "a\tb"}}); });
    for (const char* yes : {"1", "on", "Yes", "TRUE"})
        CHECK(read({{"HF_HUB_OFFLINE", yes}}).offline());
    CHECK(read({{"TRANSFORMERS_OFFLINE", "1"}}).offline());
    CHECK_FALSE(read({{"HF_HUB_OFFLINE", "0"}}).offline());
    CHECK(read({{"HF_HUB_ETAG_TIMEOUT", "2.5"}}).metadata_timeout() == milliseconds{2500});
    CHECK(read({{"HF_HUB_ETAG_TIMEOUT", "junk"}}).metadata_timeout() == milliseconds{10'000});
    CHECK(read({{"HF_HUB_DOWNLOAD_TIMEOUT", "-1"}}).download_timeout() == milliseconds{10'000});
    CHECK(read({{"HTTP_PROXY", "p"}}).http_proxy() == "p");
    CHECK(read({{"HTTP_PROXY", "p"}, {"REQUEST_METHOD", "GET"}}).http_proxy().empty());
    CHECK(read({{"ALL_PROXY", "a"}}).https_proxy() == "a");
    CHECK(read({{"NO_PROXY", "n"}}).no_proxy() == "n");
    CHECK(read({{"CURL_CA_BUNDLE", "/c"}, {"REQUESTS_CA_BUNDLE", "/r"}}).ca_file() == "/c");
    CHECK(read({{"SSL_CERT_FILE", "/s"}, {"CURL_CA_BUNDLE", "/c"}}).ca_file() == "/s");
    CHECK_FALSE(read({{"HF_HUB_DISABLE_SYMLINKS", "1"}}).symlinks());
}

TEST_CASE("hub progress: the rate is that of the last seconds")
{
    rate_meter rate;
    rate_meter::time_point now{std::chrono::hours{1}};
    rate.add(now, 0);
    CHECK(rate.bytes_per_second() == 0);
    for (int i = 0; i < 10; ++i)
        rate.add(now += milliseconds{500}, 1000);
    CHECK(rate.bytes_per_second() == Approx(2000));
    for (int i = 0; i < 60; ++i)
        rate.add(now += milliseconds{500}, 100);
    CHECK(rate.bytes_per_second() == Approx(200).epsilon(0.05));
    rate.add(now += milliseconds{10}, 100);
    CHECK(rate.bytes_per_second() == Approx(200).epsilon(0.05));
}

TEST_CASE("hub progress: files on their way are listed, and what was there before is no speed")
{
    std::vector<fetch_progress> seen;
    meter all{"org/model", [&](const fetch_progress& now) { seen.push_back(now); }};
    all.begin(3, 300);
    all.file_begin("a", 100);
    all.file_begin("b", 200);
    all.file_bytes("b", 150);
    fetch_progress now = all.last();
    CHECK(now.bytes_per_second == 0);
    CHECK_FALSE(now.time_left);
    CHECK(now.done_bytes == 150);
    REQUIRE(now.in_flight.size() == 2);
    CHECK(now.in_flight[0].path == "a");
    CHECK(now.in_flight[1].done_bytes == 150);
    CHECK(now.in_flight[1].total_bytes == 200);
    all.file_bytes("b", 120);  // a download that began again takes nothing back
    CHECK(all.last().done_bytes == 150);
    all.file_done("b", 200);
    all.file_done("c", 0);
    now = all.last();
    CHECK(now.n_files_done == 2);
    REQUIRE(now.in_flight.size() == 1);
    CHECK(now.in_flight[0].path == "a");
    CHECK(seen.size() >= 2);
}

}  // namespace modelpool::fetching
