#pragma once

#include <modelpool/pool/detail/group.hpp>

#include <memory>
#include <string>

namespace modelpool {

/// What handles of all capabilities have in common: a cheap, weak reference to one model of a pool.
/// Copies freely; used from any thread; outlives its pool safely, after which its operations fail
/// with pool_errc::shut_down. A default-constructed handle behaves so from the start.
class any_handle {
public:
    any_handle() = default;
    explicit any_handle(const std::shared_ptr<detail::group>& model)
        : key_{model->key()}
        , model_{model}
    {}

    /// The model's key in its pool.
    const std::string& key() const noexcept { return key_; }
    /// Whether the pool still has the model.
    explicit operator bool() const noexcept { return !model_.expired(); }

protected:
    const std::weak_ptr<detail::group>& model() const noexcept { return model_; }

private:
    std::string key_;
    std::weak_ptr<detail::group> model_;
};

/// The operations of one model: specialised for each capability.
template <class C>
class handle : public any_handle {
public:
    using any_handle::any_handle;
};

}  // namespace modelpool
