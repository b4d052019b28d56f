#include "cache_json.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "text_format.hpp"

namespace modelpool::cli {
namespace {

const char* name_of(repository_kind kind)
{
    switch (kind) {
    case repository_kind::model:
        return "model";
    case repository_kind::dataset:
        return "dataset";
    case repository_kind::space:
        return "space";
    }
    return "model";
}

void append_commit(std::string& out, const cached_commit& one)
{
    std::uint64_t n_bytes = 0;
    for (const cached_file& file : one.files)
        n_bytes += file.bytes;
    out += R"({"commit":)";
    append_json(out, one.commit);
    out += R"(,"refs":[)";
    for (std::size_t i = 0; i < one.refs.size(); ++i) {
        if (i > 0) out += ',';
        append_json(out, one.refs[i]);
    }
    out += R"(],"dir":)";
    append_json(out, one.dir.string());
    out += R"(,"files":)";
    append_number(out, one.files.size());
    out += R"(,"bytes":)";
    append_number(out, n_bytes);
    out += '}';
}

void append_repository(std::string& out, const cached_repository& one)
{
    out += R"({"repo":)";
    append_json(out, one.id);
    out += R"(,"kind":)";
    append_json(out, name_of(one.kind));
    out += R"(,"dir":)";
    append_json(out, one.dir.string());
    out += R"(,"bytes":)";
    append_number(out, one.bytes);
    out += R"(,"partial_bytes":)";
    append_number(out, one.partial_bytes);
    out += R"(,"last_used":)";
    append_json(out, utc_time(one.last_used));
    out += R"(,"commits":[)";
    for (std::size_t i = 0; i < one.commits.size(); ++i) {
        if (i > 0) out += ',';
        append_commit(out, one.commits[i]);
    }
    out += "]}";
}

}  // namespace

std::string utc_time(std::chrono::system_clock::time_point moment)
{
    if (moment == std::chrono::system_clock::time_point{}) return {};
    const std::time_t seconds = std::chrono::system_clock::to_time_t(moment);
    std::tm parts{};
    if (::gmtime_r(&seconds, &parts) == nullptr) return {};
    char text[32];
    const std::size_t n_bytes = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return std::string{text, n_bytes};
}

std::string entries_json(const std::vector<cached_repository>& all)
{
    std::string out = R"("entries":[)";
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (i > 0) out += ',';
        append_repository(out, all[i]);
    }
    return out + ']';
}

std::string entries_text(const std::vector<cached_repository>& all)
{
    std::vector<std::vector<std::string>> rows{{"REPOSITORY", "KIND", "SIZE", "LAST USED", "REFS"}};
    for (const cached_repository& one : all) {
        std::string refs;
        for (const cached_commit& commit : one.commits)
            for (const std::string& ref : commit.refs)
                refs += (refs.empty() ? "" : ",") + visible(ref);
        rows.push_back(
            {visible(one.id),
             name_of(one.kind),
             human_bytes(one.bytes + one.partial_bytes),
             utc_time(one.last_used),
             refs.empty() ? "-" : refs});
    }
    return table(rows);
}

std::string table(const std::vector<std::vector<std::string>>& rows)
{
    std::vector<std::size_t> widths;
    for (const std::vector<std::string>& row : rows) {
        widths.resize(std::max(widths.size(), row.size()), 0);
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const std::vector<std::string>& row : rows) {
        for (std::size_t i = 0; i + 1 < row.size(); ++i)
            out += row[i] + std::string(widths[i] + 2 - row[i].size(), ' ');
        out += row.back() + '\n';
    }
    return out;
}

}  // namespace modelpool::cli
