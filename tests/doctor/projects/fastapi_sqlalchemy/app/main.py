import asyncio
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Base, SessionLocal, engine, get_session
from app.models import Order, User


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/users/{user_id}")
async def user(user_id: int, session: Annotated[AsyncSession, Depends(get_session)]):
    found = await session.get(User, user_id)
    if found is None:
        raise HTTPException(404)
    return found


@app.get("/dashboard")
async def dashboard():
    async with SessionLocal() as session:
        users, orders = await asyncio.gather(
            session.scalar(select(func.count(User.id))),
            session.scalar(select(func.count(Order.id))),
        )
    return {"users": users, "orders": orders}


@app.get("/healthz")
async def healthz():
    async with engine.connect() as conn:
        await conn.execute(select(1))
    return {"ok": True}
