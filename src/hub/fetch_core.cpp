#include "hub/fetch_core.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

#include "hub/digest.hpp"
#include "hub/path_rules.hpp"
#include "hub/patterns.hpp"
#include "hub/shards.hpp"
#include "hub/store.hpp"

namespace modelpool::fetching {
namespace {

namespace fs = std::filesystem;

constexpr int n_most_streams = 32;
constexpr std::size_t n_most_helpers = 64;
constexpr std::uint64_t sync_from_bytes = std::uint64_t{1} << 20U;
constexpr std::size_t largest_index = std::size_t{64} << 20U;

engine_options engine_options_of(const hub_options& options)
{
    engine_options result;
    const curl_version_info_data* const info = curl_version_info(CURLVERSION_NOW);
    result.user_agent = (options.user_agent().empty() ? "" : options.user_agent() + "; ") +
                        "modelpool/0.1; libcurl/" + info->version;
    result.http_proxy = options.http_proxy();
    result.https_proxy = options.https_proxy();
    result.no_proxy = options.no_proxy();
    result.ca_file = options.ca_file().string();
    result.ca_dir = options.ca_dir().string();
    return result;
}

std::string names(const std::vector<std::string>& all)
{
    std::string text;
    for (std::size_t i = 0; i < all.size() && i < 10; ++i)
        text += (i == 0 ? "" : ", ") + shown(all[i]);
    if (all.size() > 10) text += " and " + std::to_string(all.size() - 10) + " more";
    return text;
}

// For whoever asked for a quantisation that is not there.
std::string gguf_choices(std::vector<std::string> all)
{
    std::erase_if(all, [](const std::string& path) { return !path.ends_with(".gguf"); });
    return all.empty() ? "" : "; its GGUF files are " + names(all);
}

// A list that several threads work off.
struct shared_list {
    std::mutex mutex;
    std::condition_variable changed;
    const std::function<void(std::size_t)>* action{nullptr};
    std::size_t next{0};
    std::size_t n_items{0};
    std::size_t n_running{0};
    std::exception_ptr problem;

    void work()
    {
        std::unique_lock lock{mutex};
        while (next < n_items && !problem) {
            const std::size_t item = next++;
            ++n_running;
            lock.unlock();
            std::exception_ptr failed;
            try {
                (*action)(item);
            } catch (...) {
                failed = std::current_exception();
            }
            lock.lock();
            --n_running;
            if (failed && !problem) problem = std::move(failed);
            failed = nullptr;
            changed.notify_all();
        }
    }
};

class helper final : public blocking_task {
public:
    explicit helper(std::shared_ptr<shared_list> list)
        : list_{std::move(list)}
    {}
    void run() noexcept override { list_->work(); }
    void abandon(std::exception_ptr) noexcept override {}

private:
    std::shared_ptr<shared_list> list_;
};

}  // namespace

fetch_core::fetch_core(const hub_options& options)
    : options_{options}
    , http_{engine_options_of(options)}
    , hub_{options_, http_}
    , budget_{n_most_streams}
    , helpers_{n_most_helpers}
{}

void fetch_core::log(log_level level, const std::string& line) const
{
    if (options_.log()) options_.log()(level, line);
}

void fetch_core::blocking_parallel(
    std::size_t n_items, const std::function<void(std::size_t)>& action)
{
    auto list = std::make_shared<shared_list>();
    list->action = &action;
    list->n_items = n_items;
    const std::size_t n_helpers = std::min(n_items, options_.n_parallel_files());
    for (std::size_t i = 1; i < n_helpers; ++i)
        helpers_.submit(std::make_shared<helper>(list));
    list->work();
    std::unique_lock lock{list->mutex};
    // Helpers that come too late find nothing to do.
    list->next = list->n_items;
    list->changed.wait(lock, [&] { return list->n_running == 0; });
    const std::exception_ptr problem = std::exchange(list->problem, nullptr);
    lock.unlock();
    if (problem) std::rethrow_exception(problem);
}

std::vector<std::byte> fetch_core::blocking_get(
    const std::string& url, const url_limits& limits, const std::stop_token& stop)
{
    if (options_.offline())
        throw error{
            errc::unsupported, shown(url) + ": the hub is offline, so nothing is downloaded"};
    return hub_.blocking_get(url, limits, stop);
}

fetch_core::session
fetch_core::blocking_begin(const fetch_request& request, const std::stop_token& stop)
{
    const std::string& id = request.repo.id();
    const std::string& revision = request.repo.revision();
    const repository_kind kind = request.options.kind();
    need_id(id);
    need_revision(revision);
    session now{
        request,
        blocking_find_layout(options_.cache_dir(), kind, id),
        {},
        {},
        true,
        !options_.offline()};
    if (is_commit(revision)) {
        now.commit = revision;
        return now;
    }
    const auto cached = blocking_read_ref(now.layout, revision);
    if (!now.online) {
        if (!cached)
            throw hub_fault{
                fault::offline, id + "@" + revision + ": not in the cache, and the hub is offline"};
        now.commit = *cached;
        return now;
    }
    try {
        const patience how = cached && !request.options.force() ? patience::little : patience::full;
        now.commit = hub_.blocking_commit(kind, id, revision, how, stop);
    } catch (const hub_fault& problem) {
        if (!may_use_cache(problem.kind()) || request.options.force() || !cached) throw;
        now.commit = *cached;
        now.stale = problem.what();
        now.online = false;
        log(log_level::warning, now.stale + "; using what is in the cache");
    }
    return now;
}

std::optional<tree> fetch_core::blocking_list(session& now, const std::stop_token& stop)
{
    if (auto known = blocking_read_tree(now.layout, now.commit)) return known;
    if (!now.online) return std::nullopt;
    const std::string& id = now.request.repo.id();
    try {
        tree all = hub_.blocking_tree(now.request.options.kind(), id, now.commit, stop);
        if (!now.request.options.dry_run()) blocking_write_tree(now.layout, now.commit, all);
        return all;
    } catch (const hub_fault& problem) {
        if (!may_use_cache(problem.kind()) || problem.kind() == fault::mismatch) throw;
        // A mirror may have files without a listing; and a commit's files may all be here.
        log(log_level::warning, problem.what());
        const bool named = !patterns{now.request.selection}.plain_names().empty();
        std::error_code gone;
        if (!named && !fs::is_directory(now.layout.snapshot(now.commit), gone)) throw;
        if (!named) now.stale = problem.what();
        return std::nullopt;
    }
}

std::vector<fetch_core::wish> fetch_core::select(const session& now, const tree& all) const
{
    const patterns wanted{now.request.selection};
    const std::string& id = now.request.repo.id();
    std::vector<std::string> every;
    std::vector<std::string> chosen;
    for (const auto& [path, one] : all) {
        every.push_back(path);
        if (wanted.matches(path)) chosen.push_back(path);
    }
    std::vector<std::string> missing;
    for (const std::string& name : wanted.plain_names())
        if (!all.contains(name)) missing.push_back(name);
    if (!missing.empty() && (chosen.empty() || !now.request.options.skip_missing())) {
        for (const std::string& name : missing)
            if (file_fault(name).empty()) blocking_mark_missing(now.layout, now.commit, name);
        throw hub_fault{
            fault::entry_not_found, id + "@" + now.commit + " has no file " + names(missing)};
    }
    if (chosen.empty())
        throw hub_fault{
            fault::entry_not_found,
            id + "@" + now.commit + ": none of its " + std::to_string(all.size()) +
                " files is selected" + gguf_choices(every)};
    std::vector<wish> result;
    for (std::string& path : with_gguf_parts(std::move(chosen), every)) {
        const tree_file& one = all.at(path);
        result.push_back({std::move(path), one});
    }
    return result;
}

// Without a listing: the files that were named, or what is there.
std::vector<fetch_core::wish> fetch_core::blocking_select_on_disk(session& now) const
{
    const patterns wanted{now.request.selection};
    std::vector<wish> result;
    for (const std::string& name : wanted.plain_names()) {
        need_file(name);
        result.push_back({name, std::nullopt});
    }
    now.listed = false;
    if (!result.empty()) return result;
    const fs::path dir = now.layout.snapshot(now.commit);
    std::error_code problem;
    for (fs::recursive_directory_iterator place{dir, problem};
         !problem && place != fs::recursive_directory_iterator{};
         place.increment(problem)) {
        std::error_code broken;
        const std::string path = place->path().lexically_relative(dir).generic_string();
        if (place->is_regular_file(broken) && wanted.matches(path))
            result.push_back({path, std::nullopt});
    }
    if (result.empty())
        throw hub_fault{
            fault::offline,
            now.request.repo.str() + ": no selected file is in the cache" +
                (now.stale.empty() ? "" : ", and " + now.stale)};
    std::sort(
        result.begin(), result.end(), [](const wish& a, const wish& b) { return a.path < b.path; });
    return result;
}

std::vector<fetch_core::wish> fetch_core::blocking_select(session& now, const std::stop_token& stop)
{
    const std::optional<tree> all = blocking_list(now, stop);
    if (now.online && !now.request.options.dry_run())
        blocking_write_ref(now.layout, now.request.repo.revision(), now.commit);
    return all ? select(now, *all) : blocking_select_on_disk(now);
}

fetched
fetch_core::blocking_fetch(const fetch_request& request, meter& done, const std::stop_token& stop)
{
    session now = blocking_begin(request, stop);
    std::vector<wish> wanted = blocking_select(now, stop);
    if (now.online && !request.options.dry_run()) blocking_tag_cache(options_.cache_dir());
    std::vector<fetched_file> files = blocking_get_selected(now, wanted, done, stop);
    if (request.options.follow_indexes() && !request.options.dry_run())
        blocking_add_shards(now, wanted, files, done, stop);
    std::vector<std::string> paths;
    paths.reserve(files.size());
    for (const fetched_file& file : files)
        paths.push_back(file.path);
    if (request.options.hashes() && !request.options.dry_run()) {
        for (fetched_file& file : files)
            if (file.sha256.empty())
                file.sha256 = blocking_sha256(now.layout.snapshot(now.commit) / file.path, stop);
    }
    fs::path dir = now.layout.snapshot(now.commit);
    if (!request.options.local_dir().empty()) {
        dir = request.options.local_dir();
        if (!request.options.dry_run()) blocking_place(now, files, stop);
    }
    fetched result{
        snapshot{request.repo.id(), now.commit, std::move(dir), std::move(paths)},
        std::move(files)};
    result.stale(now.stale).listed(now.listed);
    return result;
}

// After a forced push a hub may name a commit for a while whose files are gone: it is asked once
// more then.
std::vector<fetched_file> fetch_core::blocking_get_selected(
    session& now, std::vector<wish>& wanted, meter& done, const std::stop_token& stop)
{
    const std::string& revision = now.request.repo.revision();
    for (bool again = false;; again = true) {
        std::uint64_t total = 0;
        for (const wish& one : wanted)
            if (one.known) total += one.known->bytes();
        done.begin(wanted.size(), total);
        try {
            return blocking_get_all(now, wanted, done, stop);
        } catch (const hub_fault& problem) {
            if (problem.kind() != fault::entry_not_found || again || !now.online ||
                is_commit(revision))
                throw;
            const std::string fresh = hub_.blocking_commit(
                now.request.options.kind(), now.request.repo.id(), revision, patience::full, stop);
            if (fresh == now.commit) throw;
            now.commit = fresh;
        }
        wanted = blocking_select(now, stop);
    }
}

void fetch_core::blocking_add_shards(
    const session& now,
    std::vector<wish>& wanted,
    std::vector<fetched_file>& files,
    meter& done,
    const std::stop_token& stop)
{
    const std::optional<tree> all = blocking_read_tree(now.layout, now.commit);
    std::vector<wish> more;
    const auto is_wanted = [&](const std::string& path) {
        const auto is_it = [&](const wish& one) { return one.path == path; };
        return std::any_of(wanted.begin(), wanted.end(), is_it) ||
               std::any_of(more.begin(), more.end(), is_it);
    };
    for (const wish& one : wanted) {
        if (!is_shard_index(one.path)) continue;
        const auto text =
            blocking_read_small(now.layout.snapshot(now.commit) / one.path, largest_index);
        for (const std::string& path : index_files(one.path, text.value_or(""))) {
            if (is_wanted(path)) continue;
            const bool known = all && all->contains(path);
            more.push_back({path, known ? std::optional{all->at(path)} : std::nullopt});
            if (known) done.add_total(all->at(path).bytes());
        }
    }
    if (more.empty()) return;
    for (fetched_file& file : blocking_get_all(now, more, done, stop))
        files.push_back(std::move(file));
    std::sort(files.begin(), files.end(), [](const fetched_file& a, const fetched_file& b) {
        return a.path < b.path;
    });
}

std::vector<fetched_file> fetch_core::blocking_get_all(
    const session& now, const std::vector<wish>& wanted, meter& done, const std::stop_token& stop)
{
    std::vector<fetched_file> files(wanted.size());
    std::stop_source all;
    const std::stop_callback on_stop{stop, [&all] { all.request_stop(); }};
    std::mutex mutex;
    std::vector<std::string> missing;
    const bool skips = now.request.options.skip_missing();
    const auto get = [&](std::size_t i) {
        try {
            files[i] = blocking_get_one(now, wanted[i], done, all.get_token());
        } catch (const hub_fault& problem) {
            const bool absent = problem.kind() == fault::entry_not_found && !wanted[i].known;
            if (problem.kind() != fault::offline && !(absent && skips)) {
                all.request_stop();
                throw;
            }
            // The sentence names all files that are not there, not the first alone.
            const std::lock_guard lock{mutex};
            missing.push_back(wanted[i].path);
        } catch (...) {
            all.request_stop();
            throw;
        }
    };
    blocking_parallel(wanted.size(), get);
    if (missing.empty()) return files;
    // Without a listing nobody knows whether a file that is not here exists.
    const bool unknown = std::none_of(
        wanted.begin(), wanted.end(), [](const wish& one) { return one.known.has_value(); });
    if (skips && unknown && missing.size() < wanted.size()) {
        std::erase_if(files, [](const fetched_file& one) { return one.path.empty(); });
        return files;
    }
    std::sort(missing.begin(), missing.end());
    throw hub_fault{
        now.online ? fault::entry_not_found : fault::offline,
        now.request.repo.str() + ": " + std::to_string(missing.size()) + " of " +
            std::to_string(wanted.size()) + " files are not in the " +
            (now.online ? "repository: " : "cache: ") + names(missing) +
            (now.online          ? ""
             : now.stale.empty() ? "; the hub is offline"
                                 : "; " + now.stale)};
}

std::optional<blob_result>
fetch_core::blocking_look(const session& now, const wish& wanted, const std::stop_token& stop)
{
    if (now.request.options.force() && now.online) return std::nullopt;
    const fs::path place = now.layout.snapshot(now.commit) / wanted.path;
    const auto bytes = blocking_size(place);
    const std::string blob = wanted.known ? wanted.known->blob() : std::string{};
    blob_result found;
    found.blob = blob;
    found.commit = now.commit;
    found.cached = true;
    if (blob.empty()) {
        found.bytes = bytes.value_or(0);
        return bytes ? std::optional{found} : std::nullopt;
    }
    found.bytes = wanted.known->bytes();
    if (bytes && (*bytes == found.bytes || options_.verify_hits() == hit_check::none)) {
        if (options_.verify_hits() != hit_check::hash) return found;
        if (blocking_hash(place, blob, stop) == blob) {
            found.verified = true;
            return found;
        }
        if (!now.online)
            throw hub_fault{fault::mismatch, place.string() + ": its hash is not " + blob};
        blocking_quarantine(now.layout, blob);
        return std::nullopt;
    }
    if (!blocking_is_good_blob(now, blob, found.bytes, stop)) return std::nullopt;
    if (!now.request.options.dry_run())
        blocking_link(now.layout, now.commit, wanted.path, blob, options_.symlinks());
    return found;
}

bool fetch_core::blocking_is_good_blob(
    const session& now,
    const std::string& blob,
    std::optional<std::uint64_t> size,
    const std::stop_token& stop) const
{
    const fs::path place = now.layout.blob(blob);
    const auto bytes = blocking_size(place);
    if (!bytes) return false;
    const hit_check check = options_.verify_hits();
    bool good = check == hit_check::none || !size || *bytes == *size;
    if (good && check == hit_check::hash)
        good = blocking_hash(place, blob, stop).value_or(blob) == blob;
    if (good) return true;
    const std::string sentence = place.string() + " has " + std::to_string(*bytes) +
                                 " bytes, or other ones than expected (" +
                                 std::to_string(size.value_or(0)) + ")";
    if (!now.online) throw hub_fault{fault::mismatch, sentence + ", and the hub is offline"};
    log(log_level::warning, sentence + ": it is downloaded again");
    if (!now.request.options.dry_run()) blocking_quarantine(now.layout, blob);
    return false;
}

fetched_file fetch_core::blocking_get_one(
    const session& now, const wish& wanted, meter& done, const std::stop_token& stop)
{
    end_if_stopped(stop);
    fetched_file result;
    result.path = wanted.path;
    std::optional<blob_result> got = blocking_look(now, wanted, stop);
    if (!got && now.request.options.dry_run()) {
        result.bytes = wanted.known ? wanted.known->bytes() : 0;
        if (wanted.known) result.sha256 = wanted.known->sha256;
        return result;
    }
    if (!got) {
        if (!now.online) throw hub_fault{fault::offline, wanted.path + " is not in the cache"};
        const file_address address{
            now.request.options.kind(), now.request.repo.id(), now.commit, wanted.path};
        const on_file_bytes on_bytes = [&](std::uint64_t n) { done.file_bytes(wanted.path, n); };
        done.file_begin(wanted.path, wanted.known ? wanted.known->bytes() : 0);
        if (wanted.known && !wanted.known->blob().empty()) {
            opened_file facts;
            facts.facts.etag = wanted.known->blob();
            facts.facts.size = wanted.known->bytes();
            got = blocking_get_known(now, address, std::move(facts), on_bytes, stop);
        } else {
            got = blocking_get_unknown(now, address, on_bytes, stop);
        }
        blocking_link(now.layout, now.commit, wanted.path, got->blob, options_.symlinks());
    }
    done.file_done(wanted.path, got->bytes);
    result.bytes = got->bytes;
    if (is_sha256(got->blob)) result.sha256 = got->blob;
    result.cached = got->cached;
    result.verified = got->verified;
    return result;
}

blob_result fetch_core::blocking_get_unknown(
    const session& now,
    const file_address& address,
    const on_file_bytes& on_bytes,
    const std::stop_token& stop)
{
    if (!now.request.options.force() && blocking_is_missing(now.layout, now.commit, address.path))
        throw hub_fault{
            fault::entry_not_found, address.str() + ": the hub had no such file when it was asked"};
    const auto get = [&](const std::stop_token& shared_stop, const on_file_bytes& tell) {
        opened_file opened;
        try {
            opened = hub_.blocking_open(address, false, shared_stop);
        } catch (const hub_fault& problem) {
            if (problem.kind() == fault::entry_not_found)
                blocking_mark_missing(now.layout, now.commit, address.path);
            throw;
        }
        if (opened.facts.etag.empty())
            throw hub_fault{fault::not_a_hub, address.str() + ": the answer has no ETag"};
        const std::string commit = opened.facts.commit;
        blob_result got = blocking_get_known(now, address, std::move(opened), tell, shared_stop);
        got.commit = commit;
        return got;
    };
    return flights_.blocking_join(
        now.layout.dir().string() + "\n" + address.str(), stop, on_bytes, get);
}

blob_result fetch_core::blocking_get_known(
    const session& now,
    const file_address& address,
    opened_file facts,
    const on_file_bytes& on_bytes,
    const std::stop_token& stop)
{
    const std::string key = now.layout.blob(facts.facts.etag).string();
    const auto get = [&](const std::stop_token& shared_stop, const on_file_bytes& tell) {
        return blocking_download(now, address, facts, tell, shared_stop);
    };
    return flights_.blocking_join(key, stop, on_bytes, get);
}

blob_result fetch_core::blocking_download(
    const session& now,
    const file_address& address,
    opened_file facts,
    const on_file_bytes& on_bytes,
    const std::stop_token& stop)
{
    const std::string blob = facts.facts.etag;
    blob_result result;
    result.blob = blob;
    result.commit = now.commit;
    const auto have = [&] {
        return !now.request.options.force() &&
               blocking_is_good_blob(now, blob, facts.facts.size, stop);
    };
    const auto found = [&] {
        result.cached = true;
        result.bytes = blocking_size(now.layout.blob(blob)).value_or(0);
        return result;
    };
    if (have()) return found();
    const auto on_wait = [&] {
        log(log_level::info, address.str() + ": waiting for another process that downloads it");
    };
    const blob_lock lock =
        blob_lock::blocking_take(now.layout.lock(blob), options_.lock_wait(), have, on_wait, stop);
    if (have()) return found();
    std::string first_hash;
    for (int round = 0;; ++round) {
        opened_file source = facts;
        if (!source.known || round > 0) {
            source = hub_.blocking_open(address, round > 0, stop);
            // The listing's name is a hash, which the bytes have to answer for; a mirror's is not.
            if (source.facts.etag != blob) source.facts.size.reset();
            source.facts.etag = blob;
            if (!source.facts.size || *source.facts.size == 0) source.facts.size = facts.facts.size;
        }
        // A length of nothing for a body that is too long to be brought along is no length.
        if (!source.body && source.facts.size == 0U) source.facts.size.reset();
        const std::string hash =
            blocking_store(now.layout, address, std::move(source), result.bytes, on_bytes, stop);
        result.verified = hash == blob;
        if (hash.empty() || hash == blob) return result;
        std::string sentence = address.str();
        sentence.append(": the hash is ").append(hash).append(", expected ").append(blob);
        if (round == 0) {
            first_hash = hash;
            log(log_level::warning, sentence.append("; once more"));
            continue;
        }
        sentence += hash == first_hash ? "; twice the same, so the hub has other bytes than it says"
                                       : "; and another one the first time, so the way is at fault";
        throw hub_fault{fault::mismatch, sentence};
    }
}

// Writes the blob, unless its hash is wrong. Gives the hash; empty where there is none to compare.
std::string fetch_core::blocking_store(
    const repo_layout& layout,
    const file_address& address,
    opened_file source,
    std::uint64_t& bytes,
    const on_file_bytes& on_bytes,
    const std::stop_token& stop)
{
    const std::string blob = source.facts.etag;
    if (source.body) {
        const std::string& body = *source.body;
        on_bytes(0);
        std::string hash;
        auto wanted = digest::for_blob(blob, body.size());
        if (options_.verify() == verification::full && wanted) {
            wanted->update(body);
            hash = wanted->finish();
            if (hash != blob) return hash;
        } else if (
            options_.verify() != verification::none && source.facts.size &&
            *source.facts.size != body.size()) {
            throw hub_fault{
                fault::mismatch,
                address.str() + ": " + std::to_string(body.size()) + " bytes came, expected " +
                    std::to_string(*source.facts.size)};
        }
        blocking_write_file(layout.blob(blob), body);
        bytes = body.size();
        on_bytes(bytes);
        return hash;
    }
    partial_file target = partial_file::blocking_open(layout, blob, source.facts.size.value_or(0));
    transfer all{options_, hub_, http_, budget_, address, std::move(source), target};
    bytes = all.blocking_run(stop, on_bytes);
    std::string hash = all.blocking_finish_hash(stop).value_or("");
    if (!hash.empty() && hash != blob) {
        target.blocking_remove();
        return hash;
    }
    target.blocking_publish(options_.sync() && bytes >= sync_from_bytes);
    return hash;
}

std::filesystem::path fetch_core::blocking_fetch_file(
    const fetch_request& request, const std::string& path, meter& done, const std::stop_token& stop)
{
    const std::string& id = request.repo.id();
    const std::string& revision = request.repo.revision();
    need_id(id);
    need_revision(revision);
    need_file(path);
    session now{
        request,
        blocking_find_layout(options_.cache_dir(), request.options.kind(), id),
        {},
        {},
        false,
        !options_.offline()};
    const auto cached =
        is_commit(revision) ? std::optional{revision} : blocking_read_ref(now.layout, revision);
    now.commit = cached.value_or("");
    done.begin(1, 0);
    const bool pinned = is_commit(revision);
    if ((pinned || !now.online) && cached) {
        const wish wanted{path, std::nullopt};
        const fetched_file file = blocking_get_one(now, wanted, done, stop);
        return now.layout.snapshot(now.commit) / file.path;
    }
    if (!now.online)
        throw hub_fault{
            fault::offline, request.repo.str() + ": not in the cache, and the hub is offline"};
    try {
        now.commit.clear();
        const file_address address{request.options.kind(), id, revision, path};
        const on_file_bytes on_bytes = [&](std::uint64_t n) { done.file_bytes(path, n); };
        const bool may_hit = cached && !request.options.force();
        const std::string known =
            may_hit ? blocking_linked_blob(now.layout, *cached, path) : std::string{};
        opened_file opened = hub_.blocking_open(address, false, stop, known);
        // What is unchanged may be so at a later commit.
        now.commit =
            opened.unchanged && opened.facts.commit.empty() ? *cached : opened.facts.commit;
        if (opened.unchanged) opened.facts.size = blocking_size(now.layout.blob(known));
        if (!is_commit(now.commit) || opened.facts.etag.empty())
            throw hub_fault{
                fault::not_a_hub,
                address.str() + ": the answer lacks the header X-Repo-Commit or ETag"};
        blocking_tag_cache(options_.cache_dir());
        const std::uint64_t size = opened.facts.size.value_or(0);
        done.add_total(size);
        done.file_begin(path, size);
        const blob_result got = blocking_get_known(now, address, std::move(opened), on_bytes, stop);
        blocking_link(now.layout, now.commit, path, got.blob, options_.symlinks());
        blocking_write_ref(now.layout, revision, now.commit);
        done.file_done(path, got.bytes);
        return now.layout.snapshot(now.commit) / path;
    } catch (const hub_fault& problem) {
        if (!cached || !may_use_cache(problem.kind()) || request.options.force()) throw;
        fs::path place = now.layout.snapshot(*cached) / path;
        if (!blocking_size(place)) throw;
        log(log_level::warning, std::string{problem.what()} + "; using what is in the cache");
        return place;
    }
}

// Gives a folder of the user's the files, with the notes that Python's client keeps beside them.
void fetch_core::blocking_place(
    const session& now, const std::vector<fetched_file>& files, const std::stop_token& stop)
{
    const fs::path& dir = now.request.options.local_dir();
    const fs::path notes = dir / ".cache" / "huggingface";
    blocking_make_dirs(notes);
    if (!blocking_size(notes / ".gitignore")) blocking_write_file(notes / ".gitignore", "*");
    blocking_tag_cache(notes);
    for (const fetched_file& file : files) {
        end_if_stopped(stop);
        const fs::path from = fs::canonical(now.layout.snapshot(now.commit) / file.path);
        const fs::path to = dir / file.path;
        blocking_make_dirs(to.parent_path());
        const fs::path fresh = to.parent_path() / ("." + fresh_nonce() + ".tmp");
        std::error_code problem;
        // A copy: what the user changes here must not change the cache.
        fs::copy_file(from, fresh, problem);
        if (problem) fail_on_disk(fresh, "cannot be copied", problem.value());
        fs::rename(fresh, to, problem);
        if (problem) fail_on_disk(to, "cannot be replaced", problem.value());
        const double seconds =
            std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
                .count();
        blocking_write_file(
            notes / "download" / (file.path + ".metadata"),
            now.commit + "\n" + from.filename().string() + "\n" + std::to_string(seconds) + "\n");
    }
}

}  // namespace modelpool::fetching
