#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/device.hpp>

#include <utility>

namespace modelpool::models {

/// How a checkpoint is loaded.
class load_options {
public:
    load_options() = default;
    // NOLINTNEXTLINE(google-explicit-constructor): a device is enough
    load_options(modelpool::device where)
        : device_{where}
    {}

    load_options& device(modelpool::device value)
    {
        device_ = value;
        return *this;
    }
    const modelpool::device& device() const noexcept { return device_; }

    load_options& dtype(modelpool::dtype value)
    {
        dtype_ = value;
        return *this;
    }
    modelpool::dtype dtype() const noexcept { return dtype_; }

    /// Ends the load at the next tensor, with boost::asio's operation_aborted.
    load_options& stop(stop_flag value)
    {
        stop_ = std::move(value);
        return *this;
    }
    const stop_flag& stop() const noexcept { return stop_; }

private:
    modelpool::device device_;
    modelpool::dtype dtype_{modelpool::dtype::automatic};
    stop_flag stop_;
};

}  // namespace modelpool::models
