#include "text/jinja_loop.hpp"

#include "text/jinja_nodes.hpp"

namespace modelpool::text::jinja {
namespace {

// `loop.cycle` and `loop.changed`, bound to their loop.
class loop_method final : public callable_object {
public:
    loop_method(pointer<loop_object> of, bool cycles)
        : callable_object{of->depth()}
        , of_{std::move(of)}
        , cycles_{cycles}
    {}
    value call(machine&, call_arguments& arguments) override
    {
        if (!arguments.named.empty()) refuse("a method of loop takes no keyword arguments");
        return cycles_ ? of_->cycle(arguments)
                       : value::of(of_->changed(std::move(arguments.positional)));
    }
    std::string shown() const override { return "<bound method of LoopContext>"; }

private:
    pointer<loop_object> of_;
    bool cycles_;
};

}  // namespace

loop_object::loop_object(heap& in, const value& over, std::size_t depth0)
    : object{depth_above(over)}
    , items_{in, over}
    , depth0_{depth0}
{
    if (items_.knows_size()) length_ = items_.size();
}

bool loop_object::peek()
{
    if (after_) return true;
    value next;
    if (is_drained_) {
        if (n_taken_ == drained_.size()) return false;
        next = std::move(drained_[n_taken_++]);
    } else if (!items_.next(next)) {
        return false;
    }
    after_ = std::move(next);
    return true;
}

bool loop_object::next(value& into)
{
    if (!peek()) return false;
    before_ = std::move(current_);
    current_ = std::move(*after_);
    after_.reset();
    ++n_begun_;
    into = current_;
    return true;
}

std::size_t loop_object::length()
{
    if (!length_) {
        value next;
        while (items_.next(next))
            drained_.push_back(std::move(next));
        is_drained_ = true;
        length_ = drained_.size() + n_begun_ + (after_ ? 1 : 0);
    }
    return *length_;
}

std::optional<value> loop_object::attribute(heap& in, std::string_view name)
{
    const auto difference = [](std::size_t a, std::size_t b) {
        return value::of(static_cast<std::int64_t>(a) - static_cast<std::int64_t>(b));
    };
    if (name == "index") return value::of_count(n_begun_);
    if (name == "index0") return difference(n_begun_, 1);
    if (name == "first") return value::of(n_begun_ == 1);
    if (name == "last") return value::of(!peek());
    if (name == "length") return value::of_count(length());
    if (name == "revindex") return difference(length() + 1, n_begun_);
    if (name == "revindex0") return difference(length(), n_begun_);
    if (name == "depth") return value::of_count(depth0_ + 1);
    if (name == "depth0") return value::of_count(depth0_);
    const auto outside = [&in](const char* why) {
        const value sentence = in.string(why);
        return value::undefined(missing::hint, &sentence.string());
    };
    if (name == "previtem") return n_begun_ <= 1 ? outside("there is no previous item") : before_;
    if (name == "nextitem") return peek() ? *after_ : outside("there is no next item");
    if (name == "cycle" || name == "changed") {
        in.charge(96);
        return value::of_object(
            kind::callable, new loop_method{pointer<loop_object>{this}, name == "cycle"});
    }
    return std::nullopt;
}

value loop_object::cycle(call_arguments& arguments) const
{
    if (arguments.positional.empty()) refuse("loop.cycle without items");
    return arguments.positional[(n_begun_ - 1) % arguments.positional.size()];
}

bool loop_object::changed(values now)
{
    if (is_over_) refuse("loop.changed after the end of the loop");
    const bool same = last_changed_ && last_changed_->size() == now.size() &&
                      std::equal(now.begin(), now.end(), last_changed_->begin(), are_equal);
    if (!same) last_changed_ = std::move(now);
    return !same;
}

value loop_object::call(machine& on, call_arguments& arguments)
{
    if (statement_ == nullptr)
        refuse("a loop can be called while it runs, and where it is marked recursive");
    if (arguments.positional.size() != 1 || !arguments.named.empty())
        refuse("loop(...) takes one argument");
    machine::deeper level{on, statement_->levels};
    machine::captured text{on};
    static_cast<void>(statement_->run_over(on, arguments.positional[0], depth0_ + 1));
    return on.memory().string(text.take());
}

}  // namespace modelpool::text::jinja
