#include "input.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "failure.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace modelpool::cli {
namespace {

constexpr std::string_view utf8_mark = "\xEF\xBB\xBF";

[[noreturn]] void refuse(const std::string& name, const std::string& sentence)
{
    throw usage_error{name + ": " + sentence};
}

[[noreturn]] void refuse_errno(const std::string& name, int problem)
{
    refuse(name, "cannot be read: " + std::generic_category().message(problem));
}

// A file to read from, or standard input for "-".
class input_file {
public:
    explicit input_file(const std::string& path)
        : name_{path == "-" ? "standard input" : path}
        , fd_{path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)}
    {
        if (fd_ < 0) refuse_errno(name_, errno);
    }
    ~input_file()
    {
        if (fd_ != STDIN_FILENO) ::close(fd_);
    }
    input_file(const input_file&) = delete;
    input_file& operator=(const input_file&) = delete;
    input_file(input_file&&) = delete;
    input_file& operator=(input_file&&) = delete;

    const std::string& name() const noexcept { return name_; }

    // Whether reading gives bytes, or the end, at once.
    bool is_ready(int timeout_ms) const
    {
        pollfd readable{fd_, POLLIN, 0};
        return ::poll(&readable, 1, timeout_ms) != 0;
    }

    // Appends what there is to `bytes`; false at the end, or once `stop` asks.
    bool blocking_read(std::string& bytes, const stop_flag& stop) const
    {
        constexpr std::size_t block_bytes = 1U << 16U;
        constexpr int poll_ms = 50;
        for (;;) {
            while (!is_ready(poll_ms))
                if (stop.stop_requested()) return false;
            const std::size_t n_before = bytes.size();
            bytes.resize(n_before + block_bytes);
            const ssize_t n_read = ::read(fd_, bytes.data() + n_before, block_bytes);
            const int problem = n_read < 0 ? errno : 0;
            bytes.resize(n_before + static_cast<std::size_t>(n_read < 0 ? 0 : n_read));
            if (n_read >= 0) return n_read > 0;
            if (problem != EINTR && problem != EAGAIN) refuse_errno(name_, problem);
        }
    }

private:
    std::string name_;
    int fd_;
};

// nlohmann's text without its own codes: "parse error at line 1, column 4: …".
std::string json_problem(const nlohmann::json::exception& problem)
{
    const std::string_view text = problem.what();
    const std::size_t end = text.find("] ");
    return std::string{end == std::string_view::npos ? text : text.substr(end + 2)}.substr(0, 300);
}

nlohmann::json parse_json(std::string_view bytes, const std::string& name)
{
    // No input of this program nests deeper; nothing else would be needed of a deep document than
    // its refusal.
    constexpr int max_depth = 64;
    int depth = 0;
    const auto watch_depth = [&](int, nlohmann::json::parse_event_t event, nlohmann::json&) {
        using kind = nlohmann::json::parse_event_t;
        if (event == kind::object_start || event == kind::array_start) ++depth;
        if (event == kind::object_end || event == kind::array_end) --depth;
        if (depth > max_depth) refuse(name, "not valid input: JSON nested too deep");
        return true;
    };
    // nlohmann takes NUL for the end of the text and would not look at what follows.
    if (bytes.find('\0') != std::string_view::npos) refuse(name, "not valid JSON: a NUL byte");
    try {
        return nlohmann::json::parse(bytes.begin(), bytes.end(), watch_depth);
    } catch (const nlohmann::json::exception& problem) {
        refuse(name, "not valid JSON: " + json_problem(problem));
    }
}

nlohmann::json blocking_read_array(const std::string& path)
{
    const input_file file{path};
    std::string bytes;
    while (file.blocking_read(bytes, stop_flag{})) {
    }
    nlohmann::json root = parse_json(bytes, file.name());
    if (!root.is_array())
        refuse(file.name(), std::string{"expected an array, found "} + root.type_name());
    return root;
}

// Texts that are all there already.
class listed_texts final : public text_source {
public:
    listed_texts(std::vector<std::string> texts, std::string name)
        : texts_{std::move(texts)}
        , name_{std::move(name)}
    {}

    std::vector<input_text> blocking_next(std::size_t n_most, const stop_flag&) override
    {
        std::vector<input_text> piece;
        for (; next_ < texts_.size() && piece.size() < n_most; ++next_)
            piece.push_back({std::move(texts_[next_]), next_ + 1});
        return piece;
    }
    std::string name_of(std::size_t place) const override
    {
        return name_ + " " + std::to_string(place);
    }

private:
    std::vector<std::string> texts_;
    std::string name_;
    std::size_t next_{0};
};

// A text a line; or, for JSON Lines, an object a line, where blank lines are no texts.
class line_texts final : public text_source {
public:
    line_texts(const std::string& path, bool json)
        : file_{path}
        , json_{json}
    {}

    std::vector<input_text> blocking_next(std::size_t n_most, const stop_flag& stop) override
    {
        std::vector<input_text> piece;
        while (piece.size() < n_most) {
            const bool may_wait = piece.empty() || has_line() || file_.is_ready(0);
            if (!may_wait || !blocking_next_line(stop)) break;
            if (json_ && line_.find_first_not_of(" \t\r") == std::string::npos) continue;
            piece.push_back({json_ ? text_of_line() : line_, n_lines_});
        }
        return piece;
    }
    std::string name_of(std::size_t place) const override
    {
        return file_.name() + ": line " + std::to_string(place);
    }

private:
    bool has_line() const { return buffer_.find('\n', searched_) != std::string::npos; }

    // Puts the next line into `line_`, without its end; false at the end of the file.
    bool blocking_next_line(const stop_flag& stop)
    {
        std::size_t end = buffer_.find('\n', searched_);
        while (end == std::string::npos && !ended_) {
            buffer_.erase(0, begin_);
            begin_ = 0;
            searched_ = buffer_.size();
            ended_ = !file_.blocking_read(buffer_, stop);
            end = buffer_.find('\n', searched_);
        }
        if (end == std::string::npos && begin_ == buffer_.size()) return false;
        line_ = buffer_.substr(begin_, end == std::string::npos ? end : end - begin_);
        begin_ = end == std::string::npos ? buffer_.size() : end + 1;
        searched_ = begin_;
        if (++n_lines_ == 1 && line_.starts_with(utf8_mark)) line_.erase(0, utf8_mark.size());
        if (line_.ends_with('\r')) line_.pop_back();
        return true;
    }

    std::string text_of_line() const
    {
        const std::string name = name_of(n_lines_);
        nlohmann::json object = parse_json(line_, name);
        if (!object.is_object())
            refuse(
                name, std::string{"expected an object with \"text\", found "} + object.type_name());
        const auto text = object.find("text");
        if (text == object.end()) refuse(name, "the object has no \"text\"");
        if (!text->is_string())
            refuse(name, std::string{"\"text\" must be a string, found "} + text->type_name());
        return std::move(text->get_ref<std::string&>());
    }

    input_file file_;
    bool json_;
    bool ended_{false};
    std::string buffer_;
    std::size_t begin_{0};     // of the next line in buffer_
    std::size_t searched_{0};  // before here lies no line's end, from begin_ on
    std::string line_;
    std::size_t n_lines_{0};
};

std::unique_ptr<text_source> blocking_open_array(const std::string& path)
{
    nlohmann::json root = blocking_read_array(path);
    std::vector<std::string> texts;
    texts.reserve(root.size());
    for (nlohmann::json& element : root) {
        if (!element.is_string())
            refuse(
                path,
                "element " + std::to_string(texts.size() + 1) + " must be a string, found " +
                    element.type_name());
        texts.push_back(std::move(element.get_ref<std::string&>()));
    }
    return std::make_unique<listed_texts>(std::move(texts), path + ": element");
}

std::int32_t to_id(const nlohmann::json& element, const std::string& name)
{
    constexpr std::int64_t highest = std::numeric_limits<std::int32_t>::max();
    const bool fits = element.is_number_unsigned() &&
                      element.get<std::uint64_t>() <= static_cast<std::uint64_t>(highest);
    if (!fits) refuse(name, "expected token ids, found " + element.dump().substr(0, 40));
    return element.get<std::int32_t>();
}

}  // namespace

std::unique_ptr<text_source>
blocking_open_texts(const std::vector<std::string>& arguments, const std::string& input)
{
    if (!arguments.empty() && !input.empty())
        throw usage_error{"texts were given both as arguments and with --input"};
    if (arguments.empty() && input.empty())
        throw usage_error{"no texts: give them as arguments, with --input FILE, or with --input -"};
    if (!arguments.empty()) return std::make_unique<listed_texts>(arguments, "text");
    if (input.ends_with(".json")) return blocking_open_array(input);
    return std::make_unique<line_texts>(input, input.ends_with(".jsonl"));
}

std::vector<std::vector<std::int32_t>> blocking_read_id_arrays(const std::string& path)
{
    const nlohmann::json root = blocking_read_array(path);
    std::vector<std::vector<std::int32_t>> arrays;
    arrays.reserve(root.size());
    for (const nlohmann::json& element : root) {
        const std::string name = path + ": element " + std::to_string(arrays.size() + 1);
        if (!element.is_array())
            refuse(
                name, std::string{"expected an array of token ids, found "} + element.type_name());
        std::vector<std::int32_t> ids;
        ids.reserve(element.size());
        for (const nlohmann::json& id : element)
            ids.push_back(to_id(id, name));
        arrays.push_back(std::move(ids));
    }
    return arrays;
}

image_source to_image_source(const std::string& argument)
{
    constexpr std::array<std::string_view, 3> schemes{"data:", "http://", "https://"};
    const auto begins = [&](std::string_view scheme) { return argument.starts_with(scheme); };
    if (std::ranges::any_of(schemes, begins)) return image_url{argument};
    return image_file{argument};
}

}  // namespace modelpool::cli
