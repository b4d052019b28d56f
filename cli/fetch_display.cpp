#include "fetch_display.hpp"

#include <algorithm>
#include <cmath>

#include "output.hpp"
#include "text_format.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

namespace modelpool::cli {
namespace {

constexpr std::chrono::seconds plain_every{10};
constexpr std::size_t bar_width = 20;
constexpr std::size_t numbers_width = 36;

struct screen {
    std::size_t width{80};
    std::size_t height{24};
};

screen terminal_size()
{
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        return {};
    return {size.ws_col, size.ws_row};
}

double share(std::uint64_t done, std::uint64_t total)
{
    return total == 0 ? 0 : static_cast<double>(done) / static_cast<double>(total);
}

std::string bar(double part)
{
    const auto n_full =
        static_cast<std::size_t>(std::clamp(part, 0.0, 1.0) * static_cast<double>(bar_width));
    return "[" + std::string(n_full, '#') + std::string(bar_width - n_full, '.') + "]";
}

std::string percent(double part)
{
    std::string text = std::to_string(static_cast<int>(part * 100));
    return std::string(3 - std::min<std::size_t>(3, text.size()), ' ') + text + "%";
}

std::string of_total(std::uint64_t done, std::uint64_t total)
{
    return human_bytes(done) + (total == 0 ? "" : " of " + human_bytes(total));
}

std::string duration(std::chrono::seconds time)
{
    const auto n = time.count();
    if (n < 60) return std::to_string(n) + " s";
    if (n < 3600) return std::to_string(n / 60) + " min " + std::to_string(n % 60) + " s";
    return std::to_string(n / 3600) + " h " + std::to_string(n % 3600 / 60) + " min";
}

// What comes after the bytes: rate and time left, as far as they are known.
std::string pace(const fetch_progress& now)
{
    std::string text;
    if (now.bytes_per_second >= 1)
        text = ", " + human_bytes(static_cast<std::uint64_t>(now.bytes_per_second)) + "/s";
    if (now.time_left) text += ", " + duration(*now.time_left) + " left";
    return text;
}

std::string plain_line(const fetch_progress& now)
{
    return now.repo + ": " + std::to_string(now.n_files_done) + " of " +
           std::to_string(now.n_files) + " files, " + of_total(now.done_bytes, now.total_bytes) +
           pace(now);
}

// The end of a path says most.
std::string fitted(const std::string& path, std::size_t width)
{
    const std::string text = visible(path);
    if (text.size() <= width) return text + std::string(width - text.size(), ' ');
    // A cut must not leave half a character.
    std::size_t begin = text.size() - (width - 3);
    while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80U)
        ++begin;
    return "..." + text.substr(begin);
}

}  // namespace

std::vector<std::string>
progress_lines(const fetch_progress& now, std::size_t width, std::size_t n_most)
{
    // A line that wraps could not be taken back.
    const std::size_t room = std::max<std::size_t>(width, 40) - 1;
    const bool has_bar = room > bar_width + numbers_width + 16;
    const std::size_t name_width = room - numbers_width - (has_bar ? bar_width + 4 : 0);
    std::vector<std::string> lines;
    const auto add = [&](const std::string& name, double part, const std::string& numbers) {
        std::string line = fitted(name, std::max<std::size_t>(name_width, 4));
        if (has_bar) line += " " + bar(part);
        line += " " + percent(part) + "  " + numbers;
        lines.push_back(line.substr(0, room));
    };
    const std::size_t n_files = std::min(now.in_flight.size(), n_most);
    for (std::size_t i = 0; i < n_files; ++i) {
        const file_progress& one = now.in_flight[i];
        add(one.path,
            share(one.done_bytes, one.total_bytes),
            of_total(one.done_bytes, one.total_bytes));
    }
    const std::string files =
        std::to_string(now.n_files_done) + " of " + std::to_string(now.n_files) + " files";
    const std::size_t n_hidden = now.in_flight.size() - n_files;
    add(n_hidden == 0 ? files : files + ", " + std::to_string(n_hidden) + " more on their way",
        share(now.done_bytes, now.total_bytes),
        of_total(now.done_bytes, now.total_bytes));
    const std::string rest = pace(now);
    if (!rest.empty()) lines.push_back((std::string(2, ' ') + rest.substr(2)).substr(0, room));
    return lines;
}

fetch_display::fetch_display(const settings& wanted)
    : is_quiet_{!wanted.lowest_level}
    , is_terminal_{::isatty(STDERR_FILENO) == 1}
    , shown_at_{std::chrono::steady_clock::now()}
{}

fetch_display::~fetch_display()
{
    write_error_text(take_back());
}

on_fetch_progress fetch_display::listener()
{
    if (is_quiet_) return {};
    return [this](const fetch_progress& now) { show(now); };
}

void fetch_display::show(const fetch_progress& now)
{
    if (now.in_flight.empty()) return;
    if (!is_terminal_) {
        const auto moment = std::chrono::steady_clock::now();
        if (moment - shown_at_ < plain_every) return;
        shown_at_ = moment;
        write_error_line(visible(plain_line(now)));
        return;
    }
    const screen size = terminal_size();
    const std::vector<std::string> lines =
        progress_lines(now, size.width, std::max<std::size_t>(size.height, 6) - 5);
    std::string text = take_back();
    for (const std::string& line : lines)
        text += line + '\n';
    n_drawn_ = lines.size();
    write_error_text(text);
}

// Goes up to the first of the lines, and clears from there on.
std::string fetch_display::take_back() const
{
    return n_drawn_ == 0 ? "" : "\x1b[" + std::to_string(n_drawn_) + "A\x1b[J";
}

}  // namespace modelpool::cli
