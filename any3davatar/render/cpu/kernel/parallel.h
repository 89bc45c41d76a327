// Fork-join over numbered jobs, and memory that does not fault page by page.

#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace a3d {

struct NoScratch {};

// libgomp's GOMP_parallel: runs fn(data) on `threads` threads of the caller's team.
using GompParallel = void (*)(void (*fn)(void*), void* data, unsigned threads, unsigned flags);

// The team of threads that somebody else keeps, if any, and the process that it belongs to.
struct BorrowedTeam {
  std::atomic<GompParallel> run{nullptr};
  std::atomic<pid_t> process{0};
};

inline BorrowedTeam& borrowed_team() {
  static BorrowedTeam team;
  return team;
}

// Runs `work` on the caller's thread and up to `helpers` others; returns when all have ended.
template <class Work>
void run_together(int64_t helpers, Work& work) {
  const BorrowedTeam& team = borrowed_team();
  const GompParallel run = team.run.load(std::memory_order_acquire);
  if (run && helpers > 0 && team.process.load() == getpid()) {
    run([](void* of) { (*static_cast<Work*>(of))(); }, &work, unsigned(helpers) + 1, 0);
    return;
  }
  std::vector<std::thread> started;
  started.reserve(std::max<int64_t>(helpers, 0));
  for (int64_t i = 0; i < helpers; ++i) {
    try {
      started.emplace_back([&work] { work(); });
    } catch (const std::system_error&) {
      break;  // the system has no more threads: the ones there are do the work
    }
  }
  work();
  for (std::thread& helper : started) helper.join();
}

// Runs job(0) .. job(count - 1), each once, on up to `threads` threads, the caller's among them.
// They are torch's own OpenMP threads where those can be borrowed: torch's wait for their next
// work spinning, for some milliseconds, and threads of ours would have to share the cores with
// them. Otherwise, and after a fork, which a team does not survive, they live for one call.
// Each thread makes one `Scratch` and hands it to its jobs; what a job computes must not depend on
// what the scratch held, nor on which thread runs it.
// The first exception of a job is thrown again here, after all threads have ended.
template <class Scratch, class Job>
void parallel_for(int64_t count, int threads, const Job& job) {
  std::atomic<int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_lock;
  auto work = [&] {
    try {
      Scratch scratch;
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) job(scratch, i);
    } catch (...) {
      next.store(count);
      std::lock_guard<std::mutex> hold(failure_lock);
      if (!failure) failure = std::current_exception();
    }
  };
  run_together(std::min<int64_t>(threads, count) - 1, work);
  if (failure) std::rethrow_exception(failure);
}

// Asks for huge pages under the whole 2 MB pages of a range; a hint that may be refused.
// A first touch then faults once in 2 MB instead of 512 times.
template <class T>
void prefer_huge_pages(T* start, int64_t count) {
  const size_t bytes = start ? static_cast<size_t>(count) * sizeof(T) : 0;
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kHuge = uintptr_t{1} << 21;
  uintptr_t begin = (reinterpret_cast<uintptr_t>(start) + kHuge - 1) & ~(kHuge - 1);
  uintptr_t end = (reinterpret_cast<uintptr_t>(start) + bytes) & ~(kHuge - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)start, (void)bytes;
#endif
}

// Uninitialised memory for `count` trivial values, aligned for vectors and cache lines.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count) {
    size_t bytes = static_cast<size_t>(std::max<int64_t>(count, 1)) * sizeof(T);
    bytes = (bytes + 63) & ~size_t{63};
    size_t alignment = bytes >= (size_t{4} << 20) ? size_t{2} << 20 : 64;
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, bytes) != 0) throw std::bad_alloc();
    data_.reset(static_cast<T*>(memory));
    prefer_huge_pages(data_.get(), count);
  }
  T* get() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace a3d
