#pragma once

#include <string>
#include <string_view>

namespace modelpool::fetching {

// What comes from a server or a user and becomes a path is checked here first. Each gives the
// reason for a refusal; empty: none.

/// An id: "name" or "org/name".
std::string id_fault(std::string_view id);
/// A branch, a tag, a commit, "refs/pr/N": git's rules for names of references.
std::string revision_fault(std::string_view revision);
/// A file's path inside a repository: relative and without ".." by the rules of POSIX and Windows.
std::string file_fault(std::string_view path);

/// A full commit hash: 40 hexadecimal digits in lower case.
bool is_commit(std::string_view text);
/// 64 hexadecimal digits in lower case.
bool is_sha256(std::string_view text);
/// What may name a blob: a sha256, a git sha1, or a mirror's tag of harmless characters.
bool is_blob_name(std::string_view text);

/// Throws errc::invalid_argument with the reason, where there is one.
void need_id(std::string_view id);
void need_revision(std::string_view revision);
void need_file(std::string_view path);

/// Text of a server or user for a message: printable ASCII, at most `n_most` bytes.
std::string shown(std::string_view text, std::size_t n_most = 200);

}  // namespace modelpool::fetching
