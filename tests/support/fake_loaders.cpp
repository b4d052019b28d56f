#include "fake_image_embedder.hpp"
#include "fakes.hpp"

namespace modelpool::testing {

awaitable<std::unique_ptr<embedder>>
load_fake(std::shared_ptr<fake_plan> plan, load_context context)
{
    ++plan->n_loader_calls;
    auto build = [plan, stop = context.stop()] {
        plan->build_door.blocking_pass(plan->obeys_stop ? stop : stop_flag{});
        if (plan->on_build) plan->on_build();
        ++plan->n_builds;
        return std::unique_ptr<embedder>{std::make_unique<fake_embedder>(plan)};
    };
    auto built = context.offload(std::move(build));
    co_return co_await std::move(built);
}

awaitable<std::unique_ptr<image_embedder>>
load_fake_image_embedder(std::shared_ptr<fake_picture_plan> plan, load_context context)
{
    auto build = [plan, stop = context.stop()] {
        plan->build_door.blocking_pass(stop);
        ++plan->n_builds;
        return std::unique_ptr<image_embedder>{std::make_unique<fake_image_embedder>(plan)};
    };
    auto built = context.offload(std::move(build));
    co_return co_await std::move(built);
}

}  // namespace modelpool::testing
