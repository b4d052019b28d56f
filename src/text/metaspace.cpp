#include "text/metaspace.hpp"

namespace modelpool::text {

metaspace::metaspace(std::string mark, prepend when, cutting how)
    : mark_{std::move(mark)}
    , when_{when}
    , how_{how}
    , marks_{
          regex::from_literal(mark_),
          pattern_splitter::cuts_at::matches,
          delimiter::merged_with_next}
{}

void metaspace::apply(workspace& work) const
{
    work.begin_text();
    for (piece& each : work.pieces) {
        const auto begin = static_cast<std::uint32_t>(work.spare_text.size());
        const std::string_view text = work.text.bytes();
        if (each.token != piece::no_token) {
            work.spare_text.append(work.text, each.begin, each.end);
        } else {
            const bool is_marked =
                text[each.begin] == ' ' || text.substr(each.begin).starts_with(mark_);
            const bool is_wanted = when_ == prepend::always ||
                                   (when_ == prepend::first && work.source_begin(each.begin) == 0);
            if (is_wanted && !is_marked)
                work.spare_text.append(mark_, work.text.source(each.begin));
            std::size_t done = each.begin;
            for (std::size_t at = each.begin; at < each.end; ++at) {
                if (text[at] != ' ') continue;
                work.spare_text.append(work.text, done, at);
                work.spare_text.append(mark_, work.text.source(at));
                done = at + 1;
            }
            work.spare_text.append(work.text, done, each.end);
        }
        each.begin = begin;
        each.end = static_cast<std::uint32_t>(work.spare_text.size());
    }
    work.end_text();
    if (how_ == cutting::before_marks) marks_.apply(work);
}

}  // namespace modelpool::text
