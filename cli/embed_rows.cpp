#include "embed_rows.hpp"

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "text_format.hpp"

#include <unistd.h>

namespace modelpool::cli {
namespace {

// Large enough for few system calls, small beside the rows themselves.
constexpr std::size_t flush_bytes = std::size_t{1} << 20U;

// The numbers of a row as it is stored: floats, steps of int8, or packed bytes.
void append_row(std::string& out, const embeddings& rows, std::size_t index, char separator)
{
    if (rows.dtype() == embedding_dtype::f32) {
        append_numbers(out, rows[index], separator);
        return;
    }
    bool first = true;
    for (const std::byte value : rows.bytes(index)) {
        if (!first) out += separator;
        first = false;
        const auto byte = std::to_integer<std::uint8_t>(value);
        append_number(
            out,
            rows.dtype() == embedding_dtype::int8 ? static_cast<int>(static_cast<std::int8_t>(byte))
                                                  : static_cast<int>(byte));
    }
}

std::string_view name_of(embedding_dtype dtype)
{
    switch (dtype) {
    case embedding_dtype::f32:
        return "f32";
    case embedding_dtype::int8:
        return "int8";
    case embedding_dtype::binary:
        return "binary";
    }
    return "unknown";
}

// {"model","dim","normalized","embeddings","usage"}, all at the end: a run that fails prints no
// half of it.
class document_sink final : public row_sink {
public:
    document_sink(output& out, std::string model)
        : out_{out}
        , model_{std::move(model)}
    {}

    void add(embeddings rows) override { pieces_.push_back(std::move(rows)); }

    void finish() override
    {
        output::document document{out_};
        const embeddings& first = pieces_.front();
        std::string text = R"({"model":)";
        append_json(text, model_);
        text += R"(,"dim":)";
        append_number(text, first.dim());
        text += R"(,"normalized":)";
        text += first.normalized() ? "true" : "false";
        if (first.dtype() != embedding_dtype::f32)
            text += R"(,"encoding":")" + std::string{name_of(first.dtype())} + '"';
        text += R"(,"embeddings":[)";
        append_rows(text, document);
        if (first.dtype() == embedding_dtype::int8) append_scales(text);
        append_usage(text);
        document.write(text);
    }

private:
    void append_rows(std::string& text, output::document& document) const
    {
        bool first = true;
        for (const embeddings& rows : pieces_)
            for (std::size_t i = 0; i < rows.size(); ++i) {
                text += first ? "[" : ",[";
                first = false;
                append_row(text, rows, i, ',');
                text += ']';
                if (text.size() < flush_bytes) continue;
                document.write(text);
                text.clear();
            }
        text += ']';
    }

    void append_scales(std::string& text) const
    {
        std::vector<float> scales;
        for (const embeddings& rows : pieces_)
            for (std::size_t i = 0; i < rows.size(); ++i)
                scales.push_back(rows.scale(i));
        text += R"(,"scales":[)";
        append_numbers(text, std::span<const float>{scales}, ',');
        text += ']';
    }

    void append_usage(std::string& text) const
    {
        std::size_t n_tokens = 0;
        std::size_t n_truncated = 0;
        for (const embeddings& rows : pieces_) {
            n_tokens += rows.usage().n_tokens;
            n_truncated += rows.usage().n_truncated;
        }
        text += R"(,"usage":{"tokens":)";
        append_number(text, n_tokens);
        text += R"(,"truncated":)";
        append_number(text, n_truncated);
        text += "}}\n";
    }

    output& out_;
    std::string model_;
    std::vector<embeddings> pieces_;
};

// One line a row, written as soon as it is there.
class line_sink final : public row_sink {
public:
    line_sink(output& out, bool json)
        : out_{out}
        , json_{json}
    {}

    void add(embeddings rows) override
    {
        std::string lines;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            if (json_)
                append_object(lines, rows, i);
            else
                append_plain(lines, rows, i);
            ++n_rows_;
        }
        out_.write(lines);
    }

private:
    void append_object(std::string& lines, const embeddings& rows, std::size_t i) const
    {
        lines += R"({"index":)";
        append_number(lines, n_rows_);
        lines += R"(,"embedding":[)";
        append_row(lines, rows, i, ',');
        lines += ']';
        if (rows.dtype() == embedding_dtype::int8) {
            lines += R"(,"scale":)";
            append_number(lines, rows.scale(i));
        }
        lines += "}\n";
    }

    static void append_plain(std::string& lines, const embeddings& rows, std::size_t i)
    {
        if (rows.dtype() == embedding_dtype::int8) {
            append_number(lines, rows.scale(i));
            lines += ' ';
        }
        append_row(lines, rows, i, ' ');
        lines += '\n';
    }

    output& out_;
    bool json_;
    std::size_t n_rows_{0};
};

}  // namespace

std::unique_ptr<row_sink> make_row_sink(program& self, const settings& wanted)
{
    if (wanted.json) return std::make_unique<document_sink>(self.out, wanted.model);
    return std::make_unique<line_sink>(self.out, wanted.json_lines);
}

progress_line::progress_line(const output& out)
    : visible_{::isatty(STDERR_FILENO) == 1 && !out.is_terminal()}
{}

progress_line::~progress_line()
{
    if (shown_) write_error_line("");
}

void progress_line::add(std::size_t n_texts)
{
    n_done_ += n_texts;
    const clock::time_point now = clock::now();
    if (!visible_ || now < next_) return;
    next_ = now + std::chrono::milliseconds{200};
    shown_ = true;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const auto per_second = static_cast<std::size_t>(static_cast<double>(n_done_) / seconds);
    write_error_text(
        "\r" + std::to_string(n_done_) + " texts, " + std::to_string(per_second) + " a second ");
}

}  // namespace modelpool::cli
