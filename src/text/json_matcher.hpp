#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/json_grammar.hpp"

namespace modelpool::text {

/// Where a text may stand in a grammar: a node, the count of its rule's call, and the calls to
/// return to.
struct grammar_place {
    node_id node{0};
    std::uint32_t count{0};
    std::uint32_t calls{0};  ///< a frame of the matcher

    friend bool operator==(const grammar_place&, const grammar_place&) = default;
};

/// Runs a grammar over bytes. All places where a text may stand together are a state; states and
/// the steps between them are made when they are first met, and forgotten when they are too many.
/// Not thread-safe.
class json_matcher {
public:
    using state_id = std::uint32_t;
    static constexpr state_id dead = 0;
    /// Frames that are no calls: the end of the text, and a caller who is not known.
    static constexpr std::uint32_t bottom = 0;
    static constexpr std::uint32_t unknown_caller = 1;

    explicit json_matcher(std::shared_ptr<const json_grammar_graph> graph);

    const json_grammar_graph& graph() const noexcept { return *graph_; }

    /// The state before the first byte.
    state_id start();
    /// After one more byte; `dead` where none of that text can be. Throws errc::unsupported for a
    /// grammar that leaves too many places open.
    state_id next(state_id from, std::uint8_t byte)
    {
        const std::size_t at = from * n_classes_ + graph_->class_of(byte);
        const state_id known = steps_[at];
        return known != unmade ? known : make_step(from, byte);
    }
    state_id walk(state_id from, std::string_view bytes);

    /// Whether the text may end here.
    bool complete(state_id of) const { return states_[of].complete; }
    /// Whether a rule whose caller is not known ends here.
    bool returns(state_id of) const { return states_[of].returns; }
    std::span<const grammar_place> places(state_id of) const
    {
        return std::span{places_}.subspan(states_[of].first, states_[of].n);
    }

    /// The state of one place, as it stands.
    state_id state_of(const grammar_place& place);
    /// The state in the caller, once the rule called in that frame has ended. `dead` for the end of
    /// the text.
    state_id after_call(std::uint32_t frame);

    /// Whether states should be forgotten before more are made.
    bool crowded() const noexcept
    {
        return steps_.size() + 4 * places_.size() + 3 * frames_.size() > max_words;
    }
    /// Forgets all states but these, which get new numbers. All others, and frames, are invalid.
    void forget_but(std::span<state_id> kept);
    /// Changes each time that states are forgotten.
    std::uint64_t generation() const noexcept { return generation_; }
    /// Work done so far, in places looked at.
    std::uint64_t work() const noexcept { return work_; }

private:
    static constexpr std::size_t max_words = std::size_t{3} << 20U;
    static constexpr std::size_t max_places = 2048;
    static constexpr state_id unmade = 0xFFFFFFFF;

    struct frame {
        node_id node{0};
        std::uint32_t count{0};
        std::uint32_t calls{0};
    };
    struct state {
        std::uint32_t first{0};
        std::uint32_t n{0};
        bool complete{false};
        bool returns{false};
    };

    state_id make_step(state_id from, std::uint8_t byte);
    void open(const grammar_place& place);
    void follow(const grammar_place& from, const grammar_edge& edge);
    void close(bool& complete, bool& returns);
    state_id intern(bool complete, bool returns);
    std::uint32_t push(const frame& made);
    std::uint32_t copy_frame(
        const std::vector<frame>& old, std::uint32_t id, std::vector<std::uint32_t>& renamed);
    bool take_edge(const grammar_place& from, const grammar_edge& edge, std::uint32_t& count) const;
    void reset();

    std::shared_ptr<const json_grammar_graph> graph_;
    std::size_t n_classes_;
    std::vector<frame> frames_;
    std::unordered_multimap<std::uint64_t, std::uint32_t> frame_ids_;
    std::vector<state> states_;
    std::vector<grammar_place> places_;
    std::vector<state_id> steps_;
    std::unordered_multimap<std::uint64_t, state_id> state_ids_;
    std::vector<grammar_place> open_;  // the state being made
    std::vector<grammar_place> kept_;
    std::unordered_multimap<std::uint64_t, std::uint32_t> open_ids_;
    std::uint64_t generation_{0};
    std::uint64_t work_{0};
};

}  // namespace modelpool::text
