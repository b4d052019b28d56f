#include "text/jinja_machine.hpp"

#include <algorithm>

#include "text/jinja_loop.hpp"
#include "text/jinja_nodes.hpp"

namespace modelpool::text::jinja {
namespace {

// Of nested nodes and calls: far below what a thread's stack of a megabyte takes.
constexpr std::size_t max_levels = 1'000;

}  // namespace

machine::machine(
    heap& in, const scope& root, std::vector<const value*> context, std::optional<wall_time> now)
    : heap_{in}
    , context_{std::move(context)}
    , frame_{in.make<frame>(root, pointer<frame>{})}
    , now_{now}
{
    // What was made for the rendering so far is mostly what it is going to print.
    text_.reserve(std::min(in.n_bytes_used(), std::size_t{1} << 20U));
    parts_ = in.room<values>(8);
}

machine::~machine()
{
    for (const pointer<macro_object>& each : macros_)
        each->clear();
}

const value* machine::find(const place& from) const noexcept
{
    const frame* at = frame_.get();
    place here = from;
    while (here.n_out != place::in_context) {
        for (int i = 0; i < here.n_out; ++i)
            at = at->out();
        const frame::slot& found = at->at(here.slot);
        if (found.set) return &found.held;
        here = at->about().elsewhere[static_cast<std::size_t>(here.slot)];
    }
    return context_[static_cast<std::size_t>(here.slot)];
}

value machine::load(const place& from, string_object& name) const
{
    const value* const found = find(from);
    return found != nullptr ? *found : value::undefined(missing::variable, &name);
}

void machine::store(const place& to, value what)
{
    frame* at = frame_.get();
    for (int i = 0; i < to.n_out; ++i)
        at = at->out();
    at->set(to.slot, std::move(what));
}

value machine::call(const value& callee, call_arguments& arguments)
{
    if (callee.is_undefined()) refuse(callee.missing_message());
    if (callee.is(kind::loop)) return callee.loop().call(*this, arguments);
    if (!callee.is(kind::callable))
        refuse("a value of type " + std::string{type_name(callee)} + " cannot be called");
    heap_.step();
    return callee.callable().call(*this, arguments);
}

void machine::print(std::string_view text)
{
    heap_.charge(text.size());
    out_->append(text);
}

machine::deeper::deeper(machine& on, std::size_t n_levels)
    : on_{on}
    , n_levels_{n_levels}
{
    if (on.n_levels_ + n_levels > max_levels) refuse_feature("calls nested too deep");
    on.n_levels_ += n_levels;
}

pointer<frame> machine::frame_around(frame& around, const scope& about)
{
    heap_.charge(64 + about.slots.size() * sizeof(frame::slot));
    return pointer<frame>{heap_.make<frame>(about, pointer<frame>{&around})};
}

pointer<frame> machine::inner_frame(const scope& about)
{
    return frame_around(*frame_, about);
}

value machine::make_macro(const macro_definition& made)
{
    heap_.charge(96);
    macros_.emplace_back(new macro_object{made, frame_});
    return value::of_object(kind::callable, macros_.back().get());
}

value macro_object::call(machine& on, call_arguments& arguments)
{
    return made_.call(on, *around_, arguments);
}

const std::string& macro_object::name() const noexcept
{
    return made_.name;
}

std::string macro_object::shown() const
{
    return "<Macro '" + made_.name + "'>";
}

}  // namespace modelpool::text::jinja
