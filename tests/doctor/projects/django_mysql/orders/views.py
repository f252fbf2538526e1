from django.contrib.auth.decorators import login_required
from django.db import connection, transaction
from django.http import JsonResponse


@login_required
def totals(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT status, SUM(total) FROM orders_order GROUP BY status")
        return JsonResponse(dict(cursor.fetchall()))


@transaction.atomic
def cancel(request, pk):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orders_order SET status = 'cancelled' WHERE id = %s", [pk])
    return JsonResponse({"cancelled": pk})
