#pragma once

#include <modelpool/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace modelpool::text::jinja {

/// The first memory that a rendering takes, in one place: most need no more. What was taken last
/// can be given back; all else stays taken until the end.
class arena {
public:
    arena() = default;
    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;
    arena(arena&&) = delete;
    arena& operator=(arena&&) = delete;
    ~arena() = default;

    /// Null where there is not so much left.
    void* take(std::size_t n_bytes) noexcept
    {
        const std::size_t n_taken = rounded(n_bytes);
        if (n_bytes > bytes_.size() || n_taken > bytes_.size() - n_used_) return nullptr;
        std::byte* const begin = bytes_.data() + n_used_;
        n_used_ += n_taken;
        return begin;
    }
    void give_back(void* begin, std::size_t n_bytes) noexcept
    {
        const auto at = static_cast<std::size_t>(static_cast<std::byte*>(begin) - bytes_.data());
        if (at + rounded(n_bytes) == n_used_) n_used_ = at;
    }
    bool holds(const void* begin) const noexcept
    {
        const std::less_equal<const void*> at_most;
        const std::less<const void*> below;
        return at_most(bytes_.data(), begin) && below(begin, bytes_.data() + bytes_.size());
    }
    static constexpr std::size_t alignment = 16;

private:
    static std::size_t rounded(std::size_t n_bytes) noexcept
    {
        return (n_bytes + alignment - 1) / alignment * alignment;
    }

    alignas(alignment) std::array<std::byte, 12'288> bytes_;
    std::size_t n_used_{0};
};

/// Of an arena, while it has room, or else of the free store.
template <class T>
class arena_allocator {
public:
    using value_type = T;
    using propagate_on_container_copy_assignment = std::false_type;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;

    arena_allocator() = default;
    explicit arena_allocator(arena& from) noexcept
        : from_{&from}
    {}
    template <class U>
    explicit arena_allocator(const arena_allocator<U>& other) noexcept
        : from_{other.from()}
    {}
    T* allocate(std::size_t n)
    {
        static_assert(alignof(T) <= arena::alignment);
        if (from_ != nullptr)
            if (void* const taken = from_->take(n * sizeof(T))) return static_cast<T*>(taken);
        return std::allocator<T>{}.allocate(n);
    }
    void deallocate(T* begin, std::size_t n) noexcept
    {
        if (from_ != nullptr && from_->holds(begin))
            from_->give_back(begin, n * sizeof(T));
        else
            std::allocator<T>{}.deallocate(begin, n);
    }
    /// A copy may outlive the rendering.
    arena_allocator select_on_container_copy_construction() const noexcept { return {}; }
    arena* from() const noexcept { return from_; }
    friend bool operator==(const arena_allocator& a, const arena_allocator& b) noexcept
    {
        return a.from_ == b.from_;
    }

private:
    arena* from_{nullptr};
};

/// Why a template cannot go on. The template that it happened in adds its name and the line.
struct failure {
    boost::system::error_code code;
    std::string sentence;
};

/// Fails as Python would with a TypeError, ValueError or UndefinedError: the template and its
/// variables do not fit together.
[[noreturn]] void refuse(std::string sentence);
/// Fails because of something that this interpreter does not do, or does not allow.
[[noreturn]] void refuse_feature(std::string sentence);

enum class kind : std::uint8_t {
    undefined,
    none,
    boolean,
    integer,
    real,
    big_integer,  ///< beyond 64 bits: it can be printed and compared for equality alone
    string,
    list,
    tuple,
    dict,
    view,  ///< of a dict: its keys, values or items
    range,
    iterator,  ///< gives its elements once
    space,     ///< namespace(…)
    loop,      ///< `loop` inside a for
    callable,
};

/// What values refer to. Counted without atomics: a rendering runs on one thread, and what several
/// renderings share is not counted at all.
class object {
public:
    explicit object(std::uint16_t depth)
        : depth_{depth}
    {}
    object(const object&) = delete;
    object& operator=(const object&) = delete;
    object(object&&) = delete;
    object& operator=(object&&) = delete;
    virtual ~object() = default;

    /// How deep the values inside nest: bounds every recursion over values, destruction included.
    std::uint16_t depth() const noexcept { return depth_; }

    void retain() noexcept
    {
        if (n_references_ != uncounted) ++n_references_;
    }
    void release() noexcept
    {
        if (n_references_ == uncounted || --n_references_ != 0) return;
        if (in_arena_)
            this->~object();
        else
            delete this;
    }
    /// For an object with another owner, which outlives all values.
    void stop_counting() noexcept { n_references_ = uncounted; }
    bool is_unique() const noexcept { return n_references_ == 1; }
    /// For an object whose memory is not its own.
    void stay_in_arena() noexcept { in_arena_ = true; }

private:
    static constexpr std::uint32_t uncounted = 0xFFFFFFFF;
    std::uint32_t n_references_{0};
    std::uint16_t depth_;
    bool in_arena_{false};
};

template <class T>
class pointer {
public:
    pointer() = default;
    explicit pointer(T* to) noexcept
        : to_{to}
    {
        if (to_ != nullptr) to_->retain();
    }
    pointer(const pointer& other) noexcept
        : pointer{other.to_}
    {}
    pointer(pointer&& other) noexcept
        : to_{std::exchange(other.to_, nullptr)}
    {}
    pointer& operator=(const pointer& other) noexcept
    {
        if (this == &other) return *this;
        pointer copy{other};
        std::swap(to_, copy.to_);
        return *this;
    }
    pointer& operator=(pointer&& other) noexcept
    {
        pointer moved{std::move(other)};
        std::swap(to_, moved.to_);
        return *this;
    }
    ~pointer()
    {
        if (to_ != nullptr) to_->release();
    }
    T* get() const noexcept { return to_; }
    T& operator*() const noexcept { return *to_; }
    T* operator->() const noexcept { return to_; }
    explicit operator bool() const noexcept { return to_ != nullptr; }

private:
    T* to_{nullptr};
};

class string_object;
class list_object;
class dict_object;
class view_object;
class range_object;
class iterator_object;
class space_object;
class loop_object;
class callable_object;

/// What is missing, for the message of an undefined value.
enum class missing : std::uint8_t { variable, attribute, hint, unsafe };

/// A value as Python has it.
class value {
public:
    value() noexcept
        : held_{}
    {}
    value(const value& other) noexcept
        : kind_{other.kind_}
        , why_{other.why_}
        , owner_{other.owner_}
        , held_{other.held_}
    {
        if (has_object()) held_.pointee->retain();
    }
    value(value&& other) noexcept
        : kind_{std::exchange(other.kind_, kind::none)}
        , why_{other.why_}
        , owner_{other.owner_}
        , held_{other.held_}
    {
        other.held_.pointee = nullptr;
    }
    value& operator=(const value& other) noexcept
    {
        value copy{other};
        swap(copy);
        return *this;
    }
    value& operator=(value&& other) noexcept
    {
        value moved{std::move(other)};
        swap(moved);
        return *this;
    }
    ~value()
    {
        if (has_object()) held_.pointee->release();
    }

    static value none() noexcept
    {
        value made;
        made.kind_ = kind::none;
        return made;
    }
    static value of(bool truth) noexcept
    {
        value made;
        made.kind_ = kind::boolean;
        made.held_.truth = truth;
        return made;
    }
    static value of(std::int64_t number) noexcept
    {
        value made;
        made.kind_ = kind::integer;
        made.held_.integer = number;
        return made;
    }
    static value of(double number) noexcept
    {
        value made;
        made.kind_ = kind::real;
        made.held_.real = number;
        return made;
    }
    static value of_count(std::size_t count) noexcept
    {
        return of(static_cast<std::int64_t>(count));
    }
    static value of_object(kind what, object* held) noexcept
    {
        value made;
        made.kind_ = what;
        made.held_.pointee = held;
        held->retain();
        return made;
    }
    /// An undefined value; `name` says what was looked for, in a value of the kind `owner`.
    static value undefined(missing why, string_object* name, kind owner = kind::none) noexcept;

    kind type() const noexcept { return kind_; }
    bool is(kind what) const noexcept { return kind_ == what; }
    bool is_undefined() const noexcept { return kind_ == kind::undefined; }
    bool is_number() const noexcept
    {
        return kind_ == kind::integer || kind_ == kind::real || kind_ == kind::boolean;
    }
    /// An int to Python: True and False are among them.
    bool is_integral() const noexcept { return kind_ == kind::integer || kind_ == kind::boolean; }

    bool truth() const noexcept { return held_.truth; }
    std::int64_t integer() const noexcept
    {
        return kind_ == kind::boolean ? std::int64_t{held_.truth} : held_.integer;
    }
    double real() const noexcept
    {
        return kind_ == kind::real ? held_.real : static_cast<double>(integer());
    }
    object* held() const noexcept { return held_.pointee; }
    string_object& string() const noexcept;
    const std::string& text() const noexcept;
    list_object& list() const noexcept;  ///< of a list or a tuple
    dict_object& dict() const noexcept;
    view_object& view() const noexcept;
    range_object& range() const noexcept;
    iterator_object& iterator() const noexcept;
    space_object& space() const noexcept;
    loop_object& loop() const noexcept;
    callable_object& callable() const noexcept;

    /// "'x' is undefined"
    std::string missing_message() const;

    std::uint16_t depth() const noexcept { return has_object() ? held_.pointee->depth() : 0; }

private:
    bool has_object() const noexcept
    {
        return held_.pointee != nullptr && (kind_ >= kind::big_integer || kind_ == kind::undefined);
    }
    void swap(value& other) noexcept
    {
        std::swap(kind_, other.kind_);
        std::swap(why_, other.why_);
        std::swap(owner_, other.owner_);
        std::swap(held_, other.held_);
    }

    union content {
        object* pointee;
        std::int64_t integer;
        double real;
        bool truth;
    };
    kind kind_{kind::undefined};
    missing why_{missing::variable};
    kind owner_{kind::none};
    content held_;
};

using values = std::vector<value, arena_allocator<value>>;

/// UTF-8, always valid.
class string_object final : public object {
public:
    explicit string_object(std::string text, bool markup = false)
        : object{0}
        , own_{std::move(text)}
        , text_{&own_}
        , markup_{markup}
    {}
    /// A text that somebody else keeps, for longer than any value refers to it.
    struct kept {
        const std::string& text;
    };
    explicit string_object(kept by_another)
        : object{0}
        , text_{&by_another.text}
        , markup_{false}
    {}
    const std::string& text() const noexcept { return *text_; }
    /// The number of code points.
    std::size_t length() const noexcept;
    bool is_ascii() const noexcept { return length() == text_->size(); }
    /// Whether it is what the filters "safe" and "escape" give: text joined to it is escaped.
    bool is_markup() const noexcept { return markup_; }

private:
    static constexpr std::size_t unknown = static_cast<std::size_t>(-1);
    std::string own_;
    const std::string* text_;
    mutable std::size_t length_{unknown};
    bool markup_;
};

/// A list or a tuple.
class list_object final : public object {
public:
    list_object(values items, std::uint16_t depth, bool group = false)
        : object{depth}
        , items_{std::move(items)}
        , group_{group}
    {}
    const values& items() const noexcept { return items_; }
    /// Whether it is a pair of the filter "groupby", whose parts have names.
    bool is_group() const noexcept { return group_; }

private:
    values items_;
    bool group_;
};

/// In the order of insertion, as Python keeps it.
class dict_object final : public object {
public:
    using item = std::pair<value, value>;
    using item_list = std::vector<item, arena_allocator<item>>;
    explicit dict_object(std::uint16_t depth)
        : object{depth}
    {}
    /// With a few items, whose keys are texts that all differ.
    dict_object(std::uint16_t depth, item_list items)
        : object{depth}
        , items_{std::move(items)}
    {}
    const item_list& items() const noexcept { return items_; }
    const value* find(std::string_view key) const noexcept;
    const value* find(const value& key) const;
    void reserve(std::size_t n_items) { items_.reserve(n_items); }
    /// Adds a key, which must be hashable, or gives it another value. The caller answers for the
    /// depth.
    void set(value key, value to);

private:
    std::size_t place_of(const value& key) const;
    void index_all();

    item_list items_;
    // Places in items_, plus one, by hash; empty while there are few items.
    std::vector<std::uint32_t> index_;
};

enum class view_of : std::uint8_t { keys, elements, items };

class view_object final : public object {
public:
    view_object(view_of what, pointer<dict_object> from)
        : object{static_cast<std::uint16_t>(from->depth() + 1)}
        , what_{what}
        , from_{std::move(from)}
    {}
    view_of what() const noexcept { return what_; }
    const dict_object& from() const noexcept { return *from_; }

private:
    view_of what_;
    pointer<dict_object> from_;
};

class range_object final : public object {
public:
    range_object(std::int64_t start, std::int64_t stop, std::int64_t step);
    std::int64_t start() const noexcept { return start_; }
    std::int64_t stop() const noexcept { return stop_; }
    std::int64_t step() const noexcept { return step_; }
    std::int64_t size() const noexcept { return size_; }
    std::int64_t at(std::int64_t index) const noexcept { return start_ + index * step_; }

private:
    std::int64_t start_;
    std::int64_t stop_;
    std::int64_t step_;
    std::int64_t size_;
};

/// What Python calls a generator: computes its elements as they are asked for, each once.
class iterator_object : public object {
public:
    iterator_object(const char* name, std::uint16_t depth)
        : object{depth}
        , name_{name}
    {}
    /// The next element; false at the end.
    virtual bool next(value& into) = 0;
    const char* name() const noexcept { return name_; }

private:
    const char* name_;
};

/// The one value that a template can change.
class space_object final : public object {
public:
    space_object()
        : object{0}
    {}
    const value* find(std::string_view name) const noexcept;
    void set(value name, value to);
    const std::vector<dict_object::item>& items() const noexcept { return items_; }
    void clear() noexcept { items_.clear(); }

private:
    std::vector<dict_object::item> items_;
};

class heap;

/// The arguments of a call, a filter or a test.
struct call_arguments {
    explicit call_arguments(heap& in);

    values positional;
    std::vector<std::pair<std::string, value>> named;
    bool empty() const noexcept { return positional.empty() && named.empty(); }
};

class machine;

class callable_object : public object {
public:
    explicit callable_object(std::uint16_t depth)
        : object{depth}
    {}
    virtual value call(machine& on, call_arguments& arguments) = 0;
    virtual std::string shown() const = 0;
};

inline string_object& value::string() const noexcept
{
    return static_cast<string_object&>(*held_.pointee);
}
inline const std::string& value::text() const noexcept
{
    return string().text();
}
inline list_object& value::list() const noexcept
{
    return static_cast<list_object&>(*held_.pointee);
}
inline dict_object& value::dict() const noexcept
{
    return static_cast<dict_object&>(*held_.pointee);
}
inline view_object& value::view() const noexcept
{
    return static_cast<view_object&>(*held_.pointee);
}
inline range_object& value::range() const noexcept
{
    return static_cast<range_object&>(*held_.pointee);
}
inline iterator_object& value::iterator() const noexcept
{
    return static_cast<iterator_object&>(*held_.pointee);
}
inline space_object& value::space() const noexcept
{
    return static_cast<space_object&>(*held_.pointee);
}
inline callable_object& value::callable() const noexcept
{
    return static_cast<callable_object&>(*held_.pointee);
}

/// "dict", "str", … as Python names the type.
const char* type_name(const value& of);
const char* type_name(kind of);

/// Makes values, within a budget: what was ever made counts, so that memory and time are both
/// bounded.
class heap {
public:
    heap(std::size_t max_bytes, std::size_t max_steps)
        : bytes_left_{max_bytes}
        , steps_left_{max_steps}
        , max_bytes_{max_bytes}
        , max_steps_{max_steps}
    {}
    heap(const heap&) = delete;
    heap& operator=(const heap&) = delete;
    heap(heap&&) = delete;
    heap& operator=(heap&&) = delete;
    /// Breaks the cycles that namespaces make.
    ~heap();

    value string(std::string text);
    value string(std::string_view text) { return string(std::string{text}); }
    value string(const char* text) { return string(std::string{text}); }
    /// A text that outlives the rendering, without a copy of it.
    value kept_string(const std::string& text);
    value markup(std::string text);
    value list(values items);
    value tuple(values items);
    value pair(value first, value second);
    value group(value key, value items);
    /// A dict of at most eight items, whose keys are texts that all differ.
    value dict_of(dict_object::item_list items);
    /// An empty dict that will hold values up to that depth.
    pointer<dict_object> dict(std::uint16_t depth);
    value view(view_of what, const value& from);
    value space();
    /// Counts what a computation is going to make, before it makes it.
    void charge(std::size_t n_bytes)
    {
        if (n_bytes > bytes_left_) refuse_bytes();
        bytes_left_ -= n_bytes;
    }
    /// Makes an object: the first ones, which are all that most renderings need, in one place.
    template <class T, class... Arguments>
    T* make(Arguments&&... arguments)
    {
        static_assert(alignof(T) <= arena::alignment);
        void* const place = arena_.take(sizeof(T));
        if (place == nullptr) return new T{std::forward<Arguments>(arguments)...};
        T* const made = new (place) T{std::forward<Arguments>(arguments)...};
        made->stay_in_arena();
        return made;
    }
    /// Room for elements of a list or items of a dict, which must not outlive this heap.
    template <class List>
    List room(std::size_t n_items)
    {
        List made{typename List::allocator_type{arena_}};
        made.reserve(n_items);
        return made;
    }
    arena& first_memory() noexcept { return arena_; }

    std::size_t n_bytes_used() const noexcept { return max_bytes_ - bytes_left_; }
    void step(std::size_t n_steps = 1)
    {
        if (n_steps > steps_left_) refuse_steps();
        steps_left_ -= n_steps;
    }

private:
    [[noreturn]] void refuse_bytes() const;
    [[noreturn]] void refuse_steps() const;

    arena arena_;
    std::size_t bytes_left_;
    std::size_t steps_left_;
    std::size_t max_bytes_;
    std::size_t max_steps_;
    std::vector<pointer<space_object>> spaces_;
};

inline call_arguments::call_arguments(heap& in)
    : positional{values::allocator_type{in.first_memory()}}
{}

/// One more than the deepest of the values. Errors: refused where that is too deep.
std::uint16_t depth_above(const values& items);
std::uint16_t depth_above(const value& item);

}  // namespace modelpool::text::jinja
