// A second unit of the same program: what both of them include must be defined once.
#include <modelpool/modelpool.hpp>

bool knows(const modelpool::pool<modelpool::text_embedding>& models)
{
    return models.has("a model");
}
