#pragma once

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_operators.hpp"
#include "text/jinja_value.hpp"

namespace modelpool::text::jinja {

class machine;
struct macro_definition;

using filter_function = value(machine& on, const value& input, call_arguments& arguments);
using test_function = bool(machine& on, const value& input, call_arguments& arguments);

/// Where a variable lies: in a slot of the frame that is so many frames out, or among the
/// template's variables.
struct place {
    static constexpr int in_context = -1;
    int n_out{in_context};
    int slot{0};
};

/// The variables that a part of a template can set, each with the place that has it while it is not
/// set here.
struct scope {
    std::map<std::string, int, std::less<>> slots;
    std::vector<place> elsewhere;  ///< by slot
};

struct frame_slot {
    value held;
    bool set{false};
};

/// The variables of a running part of a template.
class frame final : public object {
public:
    frame(const scope& about, pointer<frame> out)
        : object{0}
        , about_{about}
        , out_{std::move(out)}
        , slots_{few_.data()}
        , n_slots_{about.slots.size()}
    {
        if (n_slots_ <= few_.size()) return;
        many_.resize(n_slots_);
        slots_ = many_.data();
    }
    using slot = frame_slot;
    frame* out() const noexcept { return out_.get(); }
    const scope& about() const noexcept { return about_; }
    const slot& at(int index) const noexcept { return slots_[index]; }
    void set(int index, value to)
    {
        slot& into = slots_[index];
        into.held = std::move(to);
        into.set = true;
    }
    void clear()
    {
        for (std::size_t i = 0; i < n_slots_; ++i)
            if (slots_[i].set) slots_[i] = slot{};
    }

private:
    const scope& about_;
    pointer<frame> out_;
    std::array<slot, 4> few_{};  // most need no more
    std::vector<slot> many_;
    slot* slots_;
    std::size_t n_slots_;
};

class macro_object final : public callable_object {
public:
    macro_object(const macro_definition& made, pointer<frame> around)
        : callable_object{0}
        , made_{made}
        , around_{std::move(around)}
    {}
    value call(machine& on, call_arguments& arguments) override;
    std::string shown() const override;
    /// Lets go of the variables around it, which may hold the macro itself.
    void clear() { around_ = {}; }
    const std::string& name() const noexcept;

private:
    const macro_definition& made_;
    pointer<frame> around_;
};

using wall_time = std::chrono::system_clock::time_point;

/// A rendering.
class machine {
public:
    /// `context` has a value, or null, for each variable that the template does not set itself; the
    /// values stay where they are. Without `now` the clock says what time it is.
    machine(
        heap& in,
        const scope& root,
        std::vector<const value*> context,
        std::optional<wall_time> now);
    machine(const machine&) = delete;
    machine& operator=(const machine&) = delete;
    machine(machine&&) = delete;
    machine& operator=(machine&&) = delete;
    ~machine();

    heap& memory() noexcept { return heap_; }
    wall_time now() const { return now_ ? *now_ : std::chrono::system_clock::now(); }

    value load(const place& from, string_object& name) const;
    /// The same where it lies, until something is stored; null where it is not set.
    const value* find(const place& from) const noexcept;
    void store(const place& to, value what);

    /// Errors: refused for what cannot be called.
    value call(const value& callee, call_arguments& arguments);

    std::string& out() noexcept { return *out_; }
    /// Room for what statements are about to print: each leaves it as it was.
    values& parts() noexcept { return parts_; }
    void print(std::string_view text);

    frame& current() noexcept { return *frame_; }
    std::size_t line{0};  ///< of the statement that runs

    /// Runs in another frame until the end of the block.
    class in_frame {
    public:
        in_frame(machine& on, pointer<frame> next)
            : on_{on}
            , before_{std::exchange(on.frame_, std::move(next))}
        {}
        in_frame(const in_frame&) = delete;
        in_frame& operator=(const in_frame&) = delete;
        in_frame(in_frame&&) = delete;
        in_frame& operator=(in_frame&&) = delete;
        ~in_frame() { on_.frame_ = std::move(before_); }

    private:
        machine& on_;
        pointer<frame> before_;
    };

    /// Prints into another string until the end of the block.
    class captured {
    public:
        explicit captured(machine& on)
            : on_{on}
            , before_{std::exchange(on.out_, &text_)}
        {}
        captured(const captured&) = delete;
        captured& operator=(const captured&) = delete;
        captured(captured&&) = delete;
        captured& operator=(captured&&) = delete;
        ~captured() { on_.out_ = before_; }
        std::string take() { return std::move(text_); }

    private:
        machine& on_;
        std::string text_;
        std::string* before_;
    };

    /// Counts how deep calls go on the stack, until the end of the block. Errors: refused where it
    /// is too deep.
    class deeper {
    public:
        deeper(machine& on, std::size_t n_levels);
        deeper(const deeper&) = delete;
        deeper& operator=(const deeper&) = delete;
        deeper(deeper&&) = delete;
        deeper& operator=(deeper&&) = delete;
        ~deeper() { on_.n_levels_ -= n_levels_; }

    private:
        machine& on_;
        std::size_t n_levels_;
    };

    pointer<frame> inner_frame(const scope& about);
    pointer<frame> frame_around(frame& around, const scope& about);
    value make_macro(const macro_definition& made);

    std::string take_output() { return std::move(text_); }

private:
    heap& heap_;
    std::vector<const value*> context_;
    std::string text_;
    std::string* out_{&text_};
    values parts_;
    std::vector<pointer<macro_object>> macros_;
    pointer<frame> frame_;
    std::optional<wall_time> now_;
    std::size_t n_levels_{0};
};

/// A function or class that every template has, by name; null for other names.
std::unique_ptr<callable_object> make_global(std::string_view name);

filter_function* find_filter(std::string_view name);
test_function* find_test(std::string_view name);

}  // namespace modelpool::text::jinja
