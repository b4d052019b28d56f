#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/image/image.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::cli {

/// One text of the input. `place` counts from 1: an argument, a line or an array's element.
struct input_text {
    std::string text;
    std::size_t place{0};
};

/// Where the texts come from. Not thread-safe.
class text_source {
public:
    text_source() = default;
    text_source(const text_source&) = delete;
    text_source& operator=(const text_source&) = delete;
    text_source(text_source&&) = delete;
    text_source& operator=(text_source&&) = delete;
    virtual ~text_source() = default;

    /// The next texts, at most `n_most`; none: the end. Blocks until there is one, and not for
    /// more, so that a slow pipe's texts come as they are written. Ends early, with what there is,
    /// once `stop` asks.
    /// Errors: usage_error, naming the file and the place.
    virtual std::vector<input_text> blocking_next(std::size_t n_most, const stop_flag& stop) = 0;

    /// "texts.txt: line 12"
    virtual std::string name_of(std::size_t place) const = 0;
};

/// The texts of a command: `arguments`, or the file `input` where it is given: "-" is standard
/// input, a text a line; ".json" an array of strings; ".jsonl" objects with "text"; any other file
/// a text a line.
/// Errors: usage_error where there are both or neither, or the file cannot be read.
std::unique_ptr<text_source>
blocking_open_texts(const std::vector<std::string>& arguments, const std::string& input);

/// A JSON file that is an array of arrays of integers, as `tokenize --decode` takes it.
/// Errors: usage_error, naming the file and the place.
std::vector<std::vector<std::int32_t>> blocking_read_id_arrays(const std::string& path);

/// An image that an argument names: a web address, a data URI, or else a file.
image_source to_image_source(const std::string& argument);

}  // namespace modelpool::cli
