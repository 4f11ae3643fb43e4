// SPDX-License-Identifier: Apache-2.0
// TPipe, TQue, TQueBind, TBuf: buffers handed out in turn, with the flags that order their users.
#pragma once

#include "ascend_twin/queue_ops.h"
#include "ascend_twin/tensor.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

namespace detail {

constexpr ::ascend_twin::PipePair kEventPipes[] = {
    {Pipe::kMTE2, Pipe::kMTE1}, {Pipe::kMTE1, Pipe::kMTE2}, {Pipe::kMTE1, Pipe::kM},
    {Pipe::kM, Pipe::kMTE1},    {Pipe::kMTE2, Pipe::kV},    {Pipe::kV, Pipe::kMTE2},
    {Pipe::kMTE3, Pipe::kV},    {Pipe::kV, Pipe::kMTE3},    {Pipe::kM, Pipe::kV},
    {Pipe::kV, Pipe::kM},       {Pipe::kV, Pipe::kV},       {Pipe::kMTE3, Pipe::kMTE1},
    {Pipe::kMTE1, Pipe::kMTE3}, {Pipe::kMTE1, Pipe::kV},    {Pipe::kMTE2, Pipe::kM},
    {Pipe::kM, Pipe::kMTE2},    {Pipe::kV, Pipe::kMTE1},    {Pipe::kM, Pipe::kFIX},
    {Pipe::kFIX, Pipe::kM},     {Pipe::kMTE3, Pipe::kMTE2}, {Pipe::kMTE2, Pipe::kMTE3},
    {Pipe::kS, Pipe::kV},       {Pipe::kV, Pipe::kS},       {Pipe::kS, Pipe::kMTE2},
    {Pipe::kMTE2, Pipe::kS},    {Pipe::kS, Pipe::kMTE3},    {Pipe::kMTE3, Pipe::kS},
    {Pipe::kMTE2, Pipe::kFIX},  {Pipe::kFIX, Pipe::kMTE2},  {Pipe::kFIX, Pipe::kS},
    {Pipe::kM, Pipe::kS},       {Pipe::kFIX, Pipe::kMTE3},  {Pipe::kMTE1, Pipe::kFIX},
    {Pipe::kFIX, Pipe::kMTE1},  {Pipe::kFIX, Pipe::kFIX}};
static_assert(sizeof(kEventPipes) / sizeof(kEventPipes[0]) == static_cast<size_t>(HardEvent::MAX),
              "one per event");

constexpr ::ascend_twin::PipePair EventPipes(HardEvent event) {
  return kEventPipes[static_cast<int>(event)];
}
constexpr bool UsesFix(HardEvent event) {
  return EventPipes(event).src == Pipe::kFIX || EventPipes(event).dst == Pipe::kFIX;
}

// The two ends of a queue of this position.
constexpr TPosition QueueEnd(TPosition pos, bool src) {
  switch (pos) {
    case TPosition::A1:
    case TPosition::B1:
    case TPosition::C1:
    case TPosition::VECIN:
      return src ? TPosition::GM : pos;
    case TPosition::A2:
      return src ? TPosition::A1 : pos;
    case TPosition::B2:
      return src ? TPosition::B1 : pos;
    case TPosition::C2:
      return src ? TPosition::C1 : pos;
    case TPosition::CO1:
      return src ? TPosition::CO1 : TPosition::CO2;
    case TPosition::CO2:
      return src ? TPosition::CO2 : TPosition::GM;
    case TPosition::VECOUT:
      return src ? TPosition::VECOUT : TPosition::GM;
    case TPosition::C2PIPE2GM:
      return src ? TPosition::B1 : pos;
    default:
      return src ? TPosition::VECOUT : TPosition::GM;
  }
}

// Where the buffers of a queue between two positions lie.
constexpr TPosition QueuePosition(TPosition src, TPosition dst) {
  if (dst == TPosition::GM) return src;
  if (dst == TPosition::CO2 && (kIs910B || src == TPosition::CO1)) return src;
  return dst;
}

// The flag of EnQue/DeQue (forward) or of FreeTensor/AllocTensor. MAX: there is none.
constexpr HardEvent QueueEvent(TPosition src_pos, TPosition dst_pos, bool forward, bool nd2nz) {
  const Mem src = PositionMem(src_pos), dst = PositionMem(dst_pos);
  switch (src) {
    case Mem::kGM:
      if (dst == Mem::kUB) return forward ? HardEvent::MTE2_V : HardEvent::V_MTE2;
      if (dst == Mem::kL1)
        return !kIs910B && nd2nz ? (forward ? HardEvent::MTE3_MTE1 : HardEvent::MTE1_MTE3)
                                 : (forward ? HardEvent::MTE2_MTE1 : HardEvent::MTE1_MTE2);
      return forward ? HardEvent::MTE2_M : HardEvent::M_MTE2;
    case Mem::kUB:
      if (dst == Mem::kGM) return forward ? HardEvent::V_MTE3 : HardEvent::MTE3_V;
      if (dst == Mem::kL1) return forward ? HardEvent::MTE3_MTE1 : HardEvent::MTE1_MTE3;
      if (dst == Mem::kL0C) return forward ? HardEvent::V_V : HardEvent::MAX;
      return forward ? HardEvent::MTE2_MTE3 : HardEvent::MTE3_MTE2;
    case Mem::kL1:
      if (dst == Mem::kUB) return forward ? HardEvent::MTE1_V : HardEvent::V_MTE1;
      if (dst == Mem::kFixbuf) return forward ? HardEvent::MTE1_FIX : HardEvent::FIX_MTE1;
      return forward ? HardEvent::MTE1_M : HardEvent::M_MTE1;
    case Mem::kL0C:
      return kIs910B ? (forward ? HardEvent::M_FIX : HardEvent::FIX_M)
                     : (forward ? HardEvent::M_V : HardEvent::V_M);
    default:
      return forward ? HardEvent::M_V : HardEvent::V_M;
  }
}

constexpr bool MaskIsNd2Nz(int mask) {
  return mask & 1;
}

}  // namespace detail

struct TQueConfig {
  bool nd2nz = false;
  bool nz2nd = false;
  bool scmBlockGroup = false;
  uint32_t bufferLen = 0;
  uint32_t bufferNumber = 0;
  uint32_t consumerSize = 0;
  TPosition consumer[8] = {};
  bool enableStaticEvtId = false;
  bool enableLoopQueue = false;
};

template <TPosition src, TPosition dst, int32_t depth, auto mask = 0>
class TQueBind {
 public:
  static constexpr bool isTQue = true;
  static constexpr TPosition srcPosition = src;
  static constexpr TPosition dstPosition = dst;
  static constexpr TPosition position = detail::QueuePosition(src, dst);
  static constexpr HardEvent enQueEvt = detail::QueueEvent(src, dst, true, detail::MaskIsNd2Nz(mask));
  static constexpr HardEvent freeBufEvt = detail::QueueEvent(src, dst, false, detail::MaskIsNd2Nz(mask));

  template <typename T>
  LocalTensor<T> AllocTensor(ASCEND_TWIN_WHERE) {
    return Tensor<T>(::ascend_twin::QueueAlloc(detail::Current(), queue_, where));
  }
  template <typename T>
  void AllocTensor(LocalTensor<T>& tensor, ASCEND_TWIN_WHERE) {
    tensor = AllocTensor<T>(where);
  }
  template <typename T>
  void FreeTensor(LocalTensor<T>& tensor, ASCEND_TWIN_WHERE) {
    ::ascend_twin::QueueFree(detail::Current(), queue_, Buffer(tensor), where);
  }
  template <typename T>
  void FreeTensor(LocalTensor<T>&& tensor, ASCEND_TWIN_WHERE) {
    ::ascend_twin::QueueFree(detail::Current(), queue_, Buffer(tensor), where);
  }
  template <typename T>
  bool EnQue(const LocalTensor<T>& tensor, ASCEND_TWIN_WHERE) {
    return ::ascend_twin::QueueEnQue(detail::Current(), queue_, Buffer(tensor), queue_.forward, where);
  }
  template <TPosition srcUserPos, TPosition dstUserPos, typename T>
  bool EnQue(const LocalTensor<T>& tensor, ASCEND_TWIN_WHERE) {
    return ::ascend_twin::QueueEnQue(detail::Current(), queue_, Buffer(tensor),
                                     UserPair<srcUserPos, dstUserPos>(), where);
  }
  template <typename T>
  LocalTensor<T> DeQue(ASCEND_TWIN_WHERE) {
    return Tensor<T>(::ascend_twin::QueueDeQue(detail::Current(), queue_, queue_.forward, where));
  }
  template <typename T>
  void DeQue(LocalTensor<T>& tensor, ASCEND_TWIN_WHERE) {
    tensor = DeQue<T>(where);
  }
  template <TPosition srcUserPos, TPosition dstUserPos, typename T>
  LocalTensor<T> DeQue(ASCEND_TWIN_WHERE) {
    return Tensor<T>(
        ::ascend_twin::QueueDeQue(detail::Current(), queue_, UserPair<srcUserPos, dstUserPos>(), where));
  }
  bool VacantInQue() { return queue_.queued < depth; }
  bool HasTensorInQue() { return queue_.queued > 0; }
  int32_t GetTensorCountInQue() { return queue_.queued; }
  bool HasIdleBuffer() { return ::ascend_twin::QueueHasIdle(detail::Current(), queue_); }
  void FreeAllEvent(ASCEND_TWIN_WHERE) { ::ascend_twin::QueueFreeAllEvent(detail::Current(), queue_, where); }

  // Twin only: called by TPipe::InitBuffer.
  bool Init(uint8_t num, uint32_t len, uint32_t pool, const Where& where) {
    using ::ascend_twin::PipePair;
    queue_.mem = PositionMem(position);
    queue_.logic = static_cast<uint8_t>(position);
    queue_.depth = depth;
    queue_.forward = enQueEvt == HardEvent::MAX ? PipePair{} : detail::EventPipes(enQueEvt);
    queue_.backward = freeBufEvt == HardEvent::MAX ? PipePair{} : detail::EventPipes(freeBufEvt);
    return ::ascend_twin::QueueInit(detail::Current(), queue_, num, len, pool, where);
  }

 private:
  template <TPosition s, TPosition d>
  static constexpr ::ascend_twin::PipePair UserPair() {
    static_assert(!(s == TPosition::GM && d == TPosition::GM),
                  "EnQue and DeQue need a local position at one end");
    return detail::EventPipes(detail::QueueEvent(s, d, true, false));
  }
  template <typename T>
  static ::ascend_twin::BufferState* Buffer(const LocalTensor<T>& t) {
    return reinterpret_cast<::ascend_twin::BufferState*>(t.address_.bufferHandle);
  }
  template <typename T>
  LocalTensor<T> Tensor(::ascend_twin::BufferState* buffer) {
    LocalTensor<T> t;
    if (!buffer) return t;
    t.address_.bufferHandle = reinterpret_cast<TBufHandle>(buffer);
    t.address_.logicPos = queue_.logic;
    t.address_.bufferAddr = buffer->addr;
    t.address_.dataLen = buffer->len;
    t.address_.bufferEnd = buffer->addr + buffer->len;
    return t;
  }
  ::ascend_twin::QueueState queue_;
};

template <TPosition pos, int32_t depth, auto mask = 0>
class TQue : public TQueBind<detail::QueueEnd(pos, true), detail::QueueEnd(pos, false), depth, mask> {};

template <TPosition pos = TPosition::LCM>
class TBuf {
 public:
  static constexpr bool isTQue = false;
  template <typename T>
  LocalTensor<T> Get(ASCEND_TWIN_WHERE) {
    return Make<T>(0, len_, where);
  }
  template <typename T>
  LocalTensor<T> Get(uint32_t len, ASCEND_TWIN_WHERE) {
    return Make<T>(0, len * static_cast<uint32_t>(sizeof(T)), where);
  }
  template <typename T>
  LocalTensor<T> GetWithOffset(uint32_t size, uint32_t bufOffset, ASCEND_TWIN_WHERE) {
    return Make<T>(bufOffset, size * static_cast<uint32_t>(sizeof(T)), where);
  }
  template <typename T>
  LocalTensor<T> AllocTensor(ASCEND_TWIN_WHERE) {
    return Get<T>(where);
  }
  template <typename T>
  void FreeTensor(LocalTensor<T>&) {}
  template <typename T>
  void EnQue(const LocalTensor<T>&) {}
  template <typename T>
  LocalTensor<T> DeQue(ASCEND_TWIN_WHERE) {
    return Get<T>(where);
  }
  uint32_t GetBufLen() const { return len_; }

  bool Init(uint32_t len, uint32_t pool, const Where& where) {
    return ::ascend_twin::BufInit(detail::Current(), PositionMem(pos), len, pool, &addr_, &len_, where);
  }

 private:
  template <typename T>
  LocalTensor<T> Make(uint32_t offset, uint32_t bytes, const Where& where) {
    LocalTensor<T> t;
    detail::Core& core = detail::Current();
    core.CheckStop();
    if (offset + bytes > len_ && !core.stopped())
      core.Fail(detail::Rule::kTensorRange, "TBuf::Get", where,
                "asks for bytes [" + std::to_string(offset) + ", " + std::to_string(offset + bytes) +
                    ") of a buffer of " + std::to_string(len_));
    t.address_.logicPos = static_cast<uint8_t>(pos);
    t.address_.bufferAddr = addr_ + offset;
    t.address_.dataLen = bytes;
    t.address_.bufferEnd = addr_ + len_;
    return t;
  }
  uint32_t addr_ = 0, len_ = 0;
};

constexpr uint32_t defaultBufIDSize = 4;
template <TPosition pos, uint32_t bufIDSize = defaultBufIDSize>
class TBufPool {
 public:
  static constexpr TPosition poolPos = pos;
  template <class Q>
  bool InitBuffer(Q& que, uint8_t num, uint32_t len, ASCEND_TWIN_WHERE) {
    return que.Init(num, len, pool_, where);
  }
  template <TPosition bufPos>
  bool InitBuffer(TBuf<bufPos>& buf, uint32_t len, ASCEND_TWIN_WHERE) {
    return buf.Init(len, pool_, where);
  }
  template <class P>
  bool InitBufPool(P& other, uint32_t len, ASCEND_TWIN_WHERE) {
    return other.Init(len, pool_, 0, where);
  }
  template <class P, class U>
  bool InitBufPool(P& other, uint32_t len, U& shared, ASCEND_TWIN_WHERE) {
    return other.Init(len, pool_, shared.Id(), where);
  }
  void Reset(ASCEND_TWIN_WHERE) { ::ascend_twin::PoolReset(detail::Current(), pool_, where); }
  bool Init(uint32_t len, uint32_t parent, uint32_t share, const Where& where) {
    return ::ascend_twin::PoolInit(detail::Current(), PositionMem(pos), len, parent, share, &pool_, where);
  }
  uint32_t Id() const { return pool_; }

 private:
  uint32_t pool_ = 0;
};

class TPipe {
 public:
  explicit TPipe(ASCEND_TWIN_WHERE) {
    ::ascend_twin::TPipeInit(detail::Current(), kIs910B, where);
    ::ascend_twin::SetTPipe(detail::Current(), this);
  }
  ~TPipe() { ::ascend_twin::TPipeDestroy(detail::Current(), {"TPipe", 0}); }
  void Init(ASCEND_TWIN_WHERE) { ::ascend_twin::TPipeInit(detail::Current(), kIs910B, where); }
  void Destroy(ASCEND_TWIN_WHERE) { ::ascend_twin::TPipeDestroy(detail::Current(), where); }
  void Reset(ASCEND_TWIN_WHERE) { ::ascend_twin::TPipeReset(detail::Current(), where); }

  template <class Q>
  bool InitBuffer(Q& que, uint8_t num, uint32_t len, ASCEND_TWIN_WHERE) {
    static_assert(Q::isTQue, "InitBuffer(queue, num, len) takes a queue; a TBuf has no num");
    return que.Init(num, len, 0, where);
  }
  template <TPosition pos>
  bool InitBuffer(TBuf<pos>& buf, uint32_t len, ASCEND_TWIN_WHERE) {
    return buf.Init(len, 0, where);
  }
  template <class P>
  bool InitBufPool(P& pool, uint32_t len, ASCEND_TWIN_WHERE) {
    return pool.Init(len, 0, 0, where);
  }
  template <class P, class U>
  bool InitBufPool(P& pool, uint32_t len, U& shared, ASCEND_TWIN_WHERE) {
    return pool.Init(len, 0, shared.Id(), where);
  }
  template <HardEvent evt>
  TEventID AllocEventID(ASCEND_TWIN_WHERE) {
    return static_cast<TEventID>(
        ::ascend_twin::AllocEvent(detail::Current(), detail::EventPipes(evt), where));
  }
  template <HardEvent evt>
  void ReleaseEventID(TEventID id, ASCEND_TWIN_WHERE) {
    ::ascend_twin::ReleaseEvent(detail::Current(), detail::EventPipes(evt), id, where);
  }
  // The lowest free id; it stays free.
  template <HardEvent evt>
  TEventID FetchEventID(ASCEND_TWIN_WHERE) {
    return FetchEventID(evt, where);
  }
  TEventID FetchEventID(HardEvent evt, ASCEND_TWIN_WHERE) {
    return static_cast<TEventID>(
        ::ascend_twin::FetchEvent(detail::Current(), detail::EventPipes(evt), where));
  }
};

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC

inline AscendC::TPipe* GetTPipePtr() {
  return static_cast<AscendC::TPipe*>(::ascend_twin::GetTPipe(::ascend_twin::Current()));
}
