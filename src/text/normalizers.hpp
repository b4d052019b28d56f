#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/normalizer.hpp"
#include "text/regex.hpp"
#include "text/unicode.hpp"

namespace modelpool::text {

/// Sequence: one normalizer after another.
class normalizer_sequence final : public normalizer {
public:
    explicit normalizer_sequence(std::vector<std::unique_ptr<const normalizer>> steps)
        : steps_{std::move(steps)}
    {}
    void apply(workspace& work) const override;

private:
    std::vector<std::unique_ptr<const normalizer>> steps_;
};

/// Lowercase: the lower-case form of every character, whatever its neighbours.
class lowercase_normalizer final : public normalizer {
public:
    void apply(workspace& work) const override;
};

/// Strip: drops white space at the ends.
class strip_normalizer final : public normalizer {
public:
    enum class side { neither, left, right, both };
    explicit strip_normalizer(side where)
        : where_{where}
    {}
    void apply(workspace& work) const override;

private:
    side where_;
};

/// StripAccents: drops combining marks; does not decompose.
class strip_accents_normalizer final : public normalizer {
public:
    strip_accents_normalizer();
    void apply(workspace& work) const override;

private:
    char_set marks_;
};

/// Nmt: drops control characters and makes some others a space, as the normal form of that name
/// does.
class nmt_normalizer final : public normalizer {
public:
    void apply(workspace& work) const override;
};

/// Replace: puts a text in the place of every match.
class replace_normalizer final : public normalizer {
public:
    replace_normalizer(regex what, std::string with)
        : what_{std::move(what)}
        , with_{std::move(with)}
    {}
    void apply(workspace& work) const override;

private:
    regex what_;
    std::string with_;
};

/// Prepend: puts a text before what is not empty.
class prepend_normalizer final : public normalizer {
public:
    explicit prepend_normalizer(std::string what)
        : what_{std::move(what)}
    {}
    void apply(workspace& work) const override;

private:
    std::string what_;
};

}  // namespace modelpool::text
