#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <optional>

#include "support/json.hpp"
#include "text/jinja_print.hpp"

#include <simdjson.h>

namespace modelpool::text::jinja {
namespace {

constexpr std::size_t max_json_depth = 200;

// Builds values while nlohmann reads, so that no document of its own stands between, and numbers
// keep their digits.
class reader final : public nlohmann::json_sax<nlohmann::json> {
public:
    explicit reader(heap& in)
        : heap_{in}
    {}

    bool null() override { return put(value::none()); }
    bool boolean(bool truth) override { return put(value::of(truth)); }
    bool number_integer(number_integer_t number) override
    {
        return put(value::of(std::int64_t{number}));
    }
    bool number_unsigned(number_unsigned_t number) override
    {
        if (number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            return put(value::of(static_cast<std::int64_t>(number)));
        return put_big(std::to_string(number));
    }
    bool number_float(number_float_t number, const string_t& digits) override
    {
        if (digits.find_first_of(".eE") == std::string::npos) return put_big(digits);
        return put(value::of(double{number}));
    }
    bool string(string_t& text) override { return put(heap_.string(std::move(text))); }
    bool binary(binary_t&) override { return false; }

    bool start_object(std::size_t) override { return open(true); }
    bool key(string_t& name) override
    {
        open_.back().key = heap_.string(std::move(name));
        return true;
    }
    bool end_object() override
    {
        level done = std::move(open_.back());
        open_.pop_back();
        std::uint16_t depth = 0;
        for (const value& each : done.items)
            depth = std::max(depth, each.depth());
        const pointer<dict_object> dict = heap_.dict(depth);
        for (std::size_t i = 0; i < done.items.size(); ++i)
            dict->set(std::move(done.keys[i]), std::move(done.items[i]));
        return put(value::of_object(kind::dict, dict.get()));
    }
    bool start_array(std::size_t) override { return open(false); }
    bool end_array() override
    {
        level done = std::move(open_.back());
        open_.pop_back();
        return put(heap_.list(std::move(done.items)));
    }
    bool
    parse_error(std::size_t, const std::string&, const nlohmann::json::exception& problem) override
    {
        sentence = "not valid JSON: " + support::json_problem(problem);
        return false;
    }

    value root;
    std::string sentence;

private:
    struct level {
        bool is_object{false};
        value key;
        values keys;
        values items;
    };

    bool open(bool is_object)
    {
        if (open_.size() >= max_json_depth) {
            sentence =
                "not valid JSON: nested more than " + std::to_string(max_json_depth) + " deep";
            return false;
        }
        heap_.charge(sizeof(level));
        open_.emplace_back().is_object = is_object;
        return true;
    }
    bool put(value made)
    {
        if (open_.empty()) {
            root = std::move(made);
            return true;
        }
        heap_.charge(2 * sizeof(value));
        level& in = open_.back();
        if (in.is_object) in.keys.push_back(std::move(in.key));
        in.items.push_back(std::move(made));
        return true;
    }
    bool put_big(std::string digits)
    {
        heap_.charge(digits.size());
        return put(value::of_object(kind::big_integer, new string_object{std::move(digits)}));
    }

    heap& heap_;
    std::vector<level> open_;
};

// Builds values of what simdjson has read.
class converter {
public:
    explicit converter(heap& in)
        : heap_{in}
    {}

    // False for what the slower reader must look at.
    bool convert(simdjson::dom::element from, std::size_t depth, value& into)
    {
        switch (from.type()) {
        case simdjson::dom::element_type::ARRAY:
            return depth < max_json_depth && convert_array(from, depth + 1, into);
        case simdjson::dom::element_type::OBJECT:
            return depth < max_json_depth && convert_object(from, depth + 1, into);
        case simdjson::dom::element_type::STRING:
            into = heap_.string(from.get_string().value_unsafe());
            return true;
        case simdjson::dom::element_type::INT64:
            into = value::of(from.get_int64().value_unsafe());
            return true;
        case simdjson::dom::element_type::UINT64:
            return false;
        case simdjson::dom::element_type::DOUBLE:
            into = value::of(from.get_double().value_unsafe());
            return true;
        case simdjson::dom::element_type::BOOL:
            into = value::of(from.get_bool().value_unsafe());
            return true;
        case simdjson::dom::element_type::NULL_VALUE:
            into = value::none();
            return true;
        }
        return false;
    }

private:
    bool convert_array(simdjson::dom::element from, std::size_t depth, value& into)
    {
        const simdjson::dom::array array = from.get_array().value_unsafe();
        values items;
        for (const simdjson::dom::element each : array) {
            heap_.charge(2 * sizeof(value));
            if (!convert(each, depth, items.emplace_back())) return false;
        }
        into = heap_.list(std::move(items));
        return true;
    }

    bool convert_object(simdjson::dom::element from, std::size_t depth, value& into)
    {
        const simdjson::dom::object object = from.get_object().value_unsafe();
        auto items = heap_.room<dict_object::item_list>(0);
        std::uint16_t inside = 0;
        for (const simdjson::dom::key_value_pair each : object) {
            heap_.charge(2 * sizeof(value));
            items.emplace_back(heap_.string(each.key), value{});
            if (!convert(each.value, depth, items.back().second)) return false;
            inside = std::max(inside, items.back().second.depth());
        }
        const pointer<dict_object> dict = heap_.dict(inside);
        dict->reserve(items.size());
        for (auto& [key, to] : items)
            dict->set(std::move(key), std::move(to));
        into = value::of_object(kind::dict, dict.get());
        return true;
    }

    heap& heap_;
};

// Reads what is usual: valid, not large, without integers beyond 64 bits.
std::optional<value> read_fast(heap& in, std::string_view json)
{
    constexpr std::size_t max_bytes = std::size_t{4} << 20U;
    if (json.size() > max_bytes) return std::nullopt;
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    const simdjson::error_code problem = parser.parse(json.data(), json.size()).get(root);
    if (problem == simdjson::MEMALLOC) throw std::bad_alloc{};
    value made;
    if (problem != simdjson::SUCCESS || !converter{in}.convert(root, 0, made)) return std::nullopt;
    return made;
}

}  // namespace

value from_json(
    heap& in, std::string_view json, const std::string& name, const boost::system::error_code& code)
{
    // nlohmann takes NUL for the end of the text and would not look at what follows.
    if (json.find('\0') != std::string_view::npos)
        throw error{code, name + ": not valid JSON: a NUL byte"};
    if (std::optional<value> made = read_fast(in, json)) return *std::move(made);
    reader made{in};
    bool read = false;
    try {
        read = nlohmann::json::sax_parse(json.begin(), json.end(), &made);
    } catch (const nlohmann::json::exception& problem) {
        made.sentence = "not valid JSON: " + support::json_problem(problem);
    }
    if (!read) throw error{code, name + ": " + made.sentence};
    return std::move(made.root);
}

}  // namespace modelpool::text::jinja
