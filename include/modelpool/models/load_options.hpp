#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/device.hpp>

#include <cstdint>
#include <functional>
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

    /// Threads on which weights are packed and quantised. 0: as many as the process has cores.
    load_options& n_threads(int value)
    {
        n_threads_ = value;
        return *this;
    }
    int n_threads() const noexcept { return n_threads_; }

    /// Told on the loading thread how many bytes of the weights have been read, of how many; at
    /// most about a hundred times. Text generation models tell; others leave it be.
    load_options& on_progress(std::function<void(std::uint64_t, std::uint64_t)> value)
    {
        on_progress_ = std::move(value);
        return *this;
    }
    const std::function<void(std::uint64_t, std::uint64_t)>& on_progress() const noexcept
    {
        return on_progress_;
    }

private:
    modelpool::device device_;
    modelpool::dtype dtype_{modelpool::dtype::automatic};
    stop_flag stop_;
    int n_threads_{0};
    std::function<void(std::uint64_t, std::uint64_t)> on_progress_;
};

}  // namespace modelpool::models
